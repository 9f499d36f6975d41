"""Sound becomes `AudioBlock` and `Gap` records, in a ring buffer and with a clock."""
