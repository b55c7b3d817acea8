// Command tcplab breaks a TCP connection on purpose, on a real Linux kernel, and shows what the kernel does about it.
package main

import (
	"os"

	"github.com/tcplab/tcplab/internal/cli"
	"github.com/tcplab/tcplab/internal/netns"
)

// The main thread stays in the machine's own namespace: /proc/self/ns/net and /proc/net name it.
func init() { netns.PinMain() }

func main() { os.Exit(cli.Main(os.Args[1:])) }
