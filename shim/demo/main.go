// The application of `make demo-docker`. It says what it has got, and runs until it is stopped.
package main

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM, syscall.SIGINT)
	user, password := os.Getenv("DB_USER"), os.Getenv("DB_PASSWORD")
	os.Stdout.WriteString("I log in to " + os.Getenv("DB_HOST") + " as " + user +
		" with a password of " + strconv.Itoa(len(password)) + " characters\n")
	<-stopped
}
