"""Programs on other machines: HTTP client and the fork server as one script."""
