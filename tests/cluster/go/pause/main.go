// Command pause keeps a pod's namespaces open: it waits for a signal to end. As the first process
// of a pod with a shared process namespace it reaps orphans. It replaces the published pause image,
// and is written in Go because the build needs a Go compiler anyway.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if err != nil || pid <= 0 {
				break
			}
		}
	}
}
