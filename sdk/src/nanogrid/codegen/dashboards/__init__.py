"""The dashboards for Grafana in the chart: panels as a table, and the JSON that is made of it."""
