"""The twin behind the firmware's HTTP and TCP interfaces: an adapter for tests and rehearsals."""
