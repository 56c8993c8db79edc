"""What lies here is material of tests, and no tests."""

collect_ignore_glob = ["*"]
