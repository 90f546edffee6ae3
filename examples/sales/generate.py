"""Writes the sales CSV of a fresh-food shop: equal bytes on every machine and Python version.

The file is like "CSV UTF-8" of a Korean Excel: lines end in CRLF, and the text is UTF-8 with a byte
order mark. Without the mark Excel reads a CSV as CP949 and cannot show 날짜. One product name
contains a comma, so it is quoted. Code that splits lines at commas gets a wrong total.
"""

import argparse
import csv
import io
import random
from datetime import date, timedelta
from pathlib import Path

HEADERS = ("날짜", "카테고리", "제품명", "수량", "단가", "금액")
ENCODING = "utf-8-sig"
FILE_NAME = "fresh-food-sales.csv"
SEED = 20251006
FIRST_DAY = date(2025, 7, 1)
DAYS = 92
ROWS = 2056

# (product, price in won, maximum number of pieces in one sale)
PRODUCTS: dict[str, list[tuple[str, int, int]]] = {
    "과일": [
        ("사과 부사 1.5kg", 12900, 12),
        ("나주 배 3입", 11900, 10),
        ("제주 감귤 3kg", 15900, 12),
        ("샤인머스캣 1kg", 14900, 10),
        ("수박 7kg", 22900, 8),
        ("성주 참외 1.2kg", 9900, 12),
        ("백도 복숭아 4입", 10900, 12),
        ("바나나 1송이", 3980, 20),
    ],
    "채소": [
        ("양파 1.5kg", 3980, 24),
        ("감자 1kg", 3490, 24),
        ("대파 1단", 2980, 30),
        ("배추 1포기", 4990, 20),
        ("다다기 오이 5입", 3990, 24),
        ("청상추 150g", 1980, 30),
        ("시금치 300g", 2790, 24),
        ("햇마늘 500g", 6900, 16),
    ],
    "정육": [
        ("한우 등심 1++ 300g", 39900, 6),
        ("한우 국거리 300g", 15900, 10),
        ("삼겹살(구이용, 600g)", 16900, 12),
        ("목살 500g", 13900, 12),
        ("닭볶음탕용 1kg", 8900, 14),
        ("훈제오리 400g", 9900, 12),
    ],
    "수산": [
        ("손질 고등어 2마리", 6990, 16),
        ("제주 은갈치 3토막", 14900, 8),
        ("노르웨이 연어 300g", 13900, 10),
        ("오징어 2마리", 8900, 12),
        ("흰다리새우 500g", 12900, 10),
        ("활전복 5미", 15900, 8),
    ],
    "유제품": [
        ("우유 900ml", 2890, 30),
        ("플레인 요거트 4입", 3480, 24),
        ("모차렐라 치즈 400g", 7980, 14),
        ("무염 버터 200g", 6480, 14),
        ("체다 슬라이스 10매", 4280, 20),
    ],
    "계란/두부": [
        ("무항생제 특란 30구", 8990, 14),
        ("동물복지 유정란 10구", 5490, 18),
        ("국산콩 두부 300g", 2980, 24),
        ("연두부 4입", 3280, 20),
    ],
}
DISCOUNT_CHANCE = 0.15


def rows() -> list[tuple[str, str, str, int, int, int]]:
    """The sales by date; each is a tuple in the order of HEADERS."""
    source = random.Random(SEED)

    def below(count: int) -> int:
        # Later Python versions keep the numbers of random(), but not those of choice().
        return int(source.random() * count)

    categories = list(PRODUCTS)
    sales = []
    for number in range(ROWS):
        day = FIRST_DAY + timedelta(days=number * DAYS // ROWS)
        category = categories[below(len(categories))]
        product, price, most = PRODUCTS[category][below(len(PRODUCTS[category]))]
        if source.random() < DISCOUNT_CHANCE:
            price = price * 9 // 100 * 10
        count = 1 + below(most)
        sales.append((day.isoformat(), category, product, count, price, count * price))
    return sales


def csv_bytes() -> bytes:
    """The content of the file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(HEADERS)
    writer.writerows(rows())
    return text.getvalue().encode(ENCODING)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the sales CSV of a fresh-food shop.")
    parser.add_argument("file", nargs="?", type=Path, default=Path(FILE_NAME))
    file = parser.parse_args().file
    data = csv_bytes()
    file.write_bytes(data)
    print(f"{file}: {len(data):,} bytes, {ROWS:,} sales")


if __name__ == "__main__":
    main()
