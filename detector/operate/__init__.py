"""What a service needs beside its job: logs, health, the service manager."""
