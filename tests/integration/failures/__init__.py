"""What happens to the machine: killed processes, and disks, descriptors, processes and memory that others use."""
