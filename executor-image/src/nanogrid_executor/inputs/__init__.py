"""The init container: copies code and inputs from S3 and verifies them."""
