"""The audit measures what other libraries compute under the names of the field. Each module here is one library."""
