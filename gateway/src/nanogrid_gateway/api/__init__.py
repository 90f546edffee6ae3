"""The functions' HTTP API: upload code, run it with input, read results, logs and output files."""
