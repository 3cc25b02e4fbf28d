"""Files, folders and hub data sets as tables of records, before any meaning is given to columns."""
