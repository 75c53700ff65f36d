"""Studies: each file makes files of data/results, by `python -m livetalk_ref.studies NAME`."""
