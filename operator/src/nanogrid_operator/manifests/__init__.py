"""Pod manifests of jobs and sessions: pure builders."""
