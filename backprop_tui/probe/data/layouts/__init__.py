"""From a record to our row: what the columns mean, and what is offered where that is unclear."""
