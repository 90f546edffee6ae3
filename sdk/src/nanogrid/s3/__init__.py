"""S3 over boto3: one client and one error for all parts."""
