package evidence

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// The timer wheel's own record: timer:timer_expire_entry says in which bucket of the wheel a timer was (expire_timers in kernel/time/timer.c),
// which is the jiffy in which it was due, however late the kernel comes to it. It has no word of what the timer is for: that is told by the
// function that it calls, and where functions are by /proc/kallsyms.

// wheelPoint is the tracepoint.
const wheelPoint = "timer_expire_entry"

// called are the functions of TCP's timers, and the variables of trace.c that hold their addresses.
var called = map[string]string{
	WriteTimer: traceVarWriteTimer, DelackTimer: traceVarDelackTimer,
	KeepaliveTimer: traceVarKeepaliveTimer, RequestTimer: traceVarRequestTimer, TimeWaitTimer: traceVarTimewaitTimer,
}

// wheel follows the tracepoint besides the others. It is one witness more, which no other needs: where it cannot be had, the error says why. In
// virtual time, where no timer is late, it is not wanted: to look through /proc/kallsyms takes a virtual machine half a second.
func (p *Programs) wheel(spec *ebpf.CollectionSpec) error {
	if p.facts.distilled != nil {
		return nil
	}
	found, err := functions()
	if err != nil {
		return err
	}
	for name, variable := range called {
		if err := spec.Variables[variable].Set(found[name]); err != nil {
			return err
		}
	}
	var o struct {
		Expire *ebpf.Program `ebpf:"expire"`
	}
	err = spec.LoadAndAssign(&o, &ebpf.CollectionOptions{Cache: p.facts.types, MapReplacements: map[string]*ebpf.Map{
		traceMapHosts: p.objects.Hosts, traceMapRing: p.objects.Ring, traceMapLost: p.objects.Lost}})
	if err != nil {
		return fmt.Errorf("timer wheel: %w", untraced(err))
	}
	p.expire = o.Expire
	l, err := link.AttachTracing(link.TracingOptions{Program: o.Expire})
	if err != nil {
		return fmt.Errorf("timer wheel: attach: %w", untraced(err))
	}
	p.links = append(p.links, l)
	return nil
}

// functions are the addresses of what TCP's timers call. They stay while the kernel runs.
var functions = sync.OnceValues(func() (map[string]uint64, error) {
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil, fmt.Errorf("timer wheel: %w", err)
	}
	defer f.Close()
	return symbols(f)
})

// symbols finds the functions of TCP's timers in what /proc/kallsyms has: address, kind, name, and a module in brackets. An address of 0 is hidden
// (kptr_restrict).
func symbols(r io.Reader) (map[string]uint64, error) {
	out := map[string]uint64{}
	s := bufio.NewScanner(r)
	for s.Scan() && len(out) < len(called) {
		at, rest, _ := strings.Cut(s.Text(), " ")
		_, name, _ := strings.Cut(rest, " ")
		name, _, _ = strings.Cut(name, "\t")
		if called[name] == "" || out[name] != 0 { // the kernel's own come first, modules last
			continue
		}
		n, err := strconv.ParseUint(at, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("timer wheel: /proc/kallsyms: %q: want an address, a kind and a name", s.Text())
		}
		if n != 0 {
			out[name] = n
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("timer wheel: read /proc/kallsyms: %w", err)
	}
	if out[WriteTimer] == 0 {
		return nil, errors.New("timer wheel: /proc/kallsyms shows no address of tcp_write_timer (kernel.kptr_restrict, CONFIG_KALLSYMS)")
	}
	return out, nil
}
