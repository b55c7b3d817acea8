// Command guest is the first process of the machines that the tests boot. The request says what it does.
package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/tcplab/tcplab/internal/vm"
)

func main() {
	if !vm.InGuest() {
		fmt.Fprintln(os.Stderr, "guest: want to be the first process of a machine")
		os.Exit(2)
	}
	vm.Guest(func(request []byte, send func(vm.Message) error) error {
		began := time.Now()
		switch string(request) {
		case "wait": // three hours
			<-time.After(3 * time.Hour)
		case "state": // what differs between two machines that are not the same to the instruction
			random := make([]byte, 16)
			if _, err := rand.Read(random); err != nil {
				return err
			}
			uptime, err := os.ReadFile("/proc/uptime")
			if err != nil {
				return err
			}
			return send(vm.Message{Name: "state", Data: fmt.Appendf(nil, "%x %d %s", random, began.UnixNano(), uptime)})
		case "naps":
			return send(vm.Message{Name: "state", Data: naps(began)})
		case "error":
			return fmt.Errorf("as asked")
		case "panic":
			panic("as asked")
		case "exit": // the kernel panics without its first process
			os.Exit(3)
		case "crash":
			if err := os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0); err != nil {
				return err
			}
		case "spin": // burns time
			for {
			}
		case "eat": // all memory
			var all [][]byte
			for {
				b := make([]byte, 16<<20)
				for i := 0; i < len(b); i += 4096 {
					b[i] = 1
				}
				all = append(all, b)
				_ = all
			}
		}
		var u syscall.Utsname
		if err := syscall.Uname(&u); err != nil {
			return err
		}
		release := ""
		for _, c := range u.Release {
			if c == 0 {
				break
			}
			release += string(rune(c))
		}
		if err := send(vm.Message{Name: "release", Data: []byte(release)}); err != nil {
			return err
		}
		return send(vm.Message{Name: "took", Data: fmt.Append(nil, int64(time.Since(began)))})
	})
}

// naps works and rests 20,000 times, for up to 150 us each, and tells the clock now and then.
func naps(began time.Time) (out []byte) {
	x, spun := uint32(1), 0
	for i := range 20000 {
		x = x*1664525 + 1013904223
		rest := syscall.Timespec{Nsec: int64(20000 + x>>16&0x1ffff)}
		_ = syscall.Nanosleep(&rest, nil)
		for range x >> 24 {
			spun++
		}
		if i%1000 == 999 {
			out = fmt.Append(out, time.Since(began).Nanoseconds(), " ")
		}
	}
	return fmt.Append(out, spun)
}
