"""What a release uploads. `make package` builds it, installs it and runs these tests."""
