"""S3 for the trusted containers: client, transfers, errors."""
