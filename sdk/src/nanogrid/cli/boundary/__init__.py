"""``doctor --tenant``: attacks the boundary of a namespace from inside and reports what holds."""
