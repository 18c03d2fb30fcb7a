"""What looks wrong in the data: labels, near-duplicates, outliers. Findings are for people; nothing is refused or changed by them."""
