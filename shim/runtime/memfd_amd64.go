package main

// The number of memfd_create, which syscall lacks.
const memfdCreate = 319
