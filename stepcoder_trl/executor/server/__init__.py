"""Fork server: a warm interpreter that forks one child per program and supervises it."""
