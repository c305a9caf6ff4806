"""What a run did: the record, saved and found again."""
