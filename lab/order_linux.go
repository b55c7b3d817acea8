package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/tcplab/tcplab/internal/netns"
)

// labs counts the labs that this process made, to spread them over the processors.
var labs atomic.Uint32

// pickCPU is the processor that receives all frames of a lab, or -1 where there is only one and nothing can overtake.
func pickCPU() int {
	if n := runtime.NumCPU(); n > 1 {
		return int(labs.Add(1)-1) % n
	}
	return -1
}

// inOrder makes one processor receive all that arrives on a device of the calling thread's namespace, by receive packet steering (RPS).
//
// A veth hands each frame to the queue of the processor that sent it (netif_rx, enqueue_to_backlog), and each processor empties its own. The
// server's kernel acknowledges a FIN on one of them while its program closes on another: where the first one is held up, the FIN overtakes
// the acknowledgement. That met a socket in TIME-WAIT, was answered by another ACK, and that by a RST: once in some 60 runs of exp4 on a
// machine with both processors busy. A wire does not do that.
//
// Where this is not to be had (an ordinary user in a namespace of his own, a kernel without RPS) the link stays as it is, and Ordered says so.
func (h *Host) inOrder(iface string) error {
	h.ordered = h.cpu < 0
	if h.ordered {
		return nil
	}
	queues, err := filepath.Glob(filepath.Join(netns.Sysfs, "class/net", iface, "queues/rx-*/rps_cpus"))
	if err != nil {
		return err
	}
	for _, q := range queues {
		if err := os.WriteFile(q, []byte(mask(h.cpu)), 0); errors.Is(err, fs.ErrPermission) {
			return nil
		} else if err != nil {
			return fmt.Errorf("let CPU %d receive what arrives on %s: %w", h.cpu, iface, err)
		}
		got, err := os.ReadFile(q)
		if err != nil {
			return fmt.Errorf("read back which CPU receives what arrives on %s: %w", iface, err)
		}
		if !sameMask(string(got), h.cpu) {
			return fmt.Errorf("%s reads back %q as the CPUs that receive, want CPU %d alone", iface, strings.TrimSpace(string(got)), h.cpu)
		}
	}
	h.ordered = len(queues) > 0
	return nil
}

// mask is a set of one processor as bitmap_parse reads it: groups of 32 bits in hexadecimal, with commas, the highest first.
func mask(cpu int) string {
	return strconv.FormatUint(1<<(cpu%32), 16) + strings.Repeat(",00000000", cpu/32)
}

// sameMask reports whether a mask, as the kernel prints it, is this one processor.
func sameMask(printed string, cpu int) bool {
	trim := func(s string) string { return strings.TrimLeft(strings.TrimSpace(s), "0,") }
	return trim(printed) == trim(mask(cpu))
}

// Ordered reports whether frames arrive at both ends in the order in which they were sent, on whichever processor that was.
func (l *Lab) Ordered() bool {
	return l.line != nil || l.Client.ordered && l.Server.ordered // the process of the line reads and writes on one thread for each way
}
