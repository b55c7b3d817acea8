package evidence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// go generate needs clang, llvm-strip and libbpf's headers (apt-get install clang llvm libbpf-dev). To build, nothing of that is needed. The
// compiler that generated.sha256 names makes the same objects again, byte for byte.
//
//go:generate go tool bpf2go -no-global-types -type event -tags linux -go-package evidence trace ./bpf/trace.c -- -I./bpf -Wall -Werror
//go:generate sh -c "(clang --version | sed -n '1s/^/# /p'; sha256sum bpf/kernel.h bpf/trace.c trace_bpfeb.go trace_bpfeb.o trace_bpfel.go trace_bpfel.o) >bpf/generated.sha256"

// ErrNoTrace is wrapped where the kernel's tracepoints cannot be followed: no privilege, no BTF, no bpf(2). The error says which.
var ErrNoTrace = errors.New("the kernel's tracepoints cannot be followed")

// Namespace is a host of the lab, by its network namespace.
type Namespace struct {
	Host string
	Path string // as nsenter(1) takes it
	Addr netip.Addr
}

// Programs follow the kernel's tracepoints. They are loaded once and serve several labs, one after the other: loading takes some 20 ms, and
// a second or more in a virtual machine. Nothing is left of them in the kernel once their descriptors are closed, be it by SIGKILL. They are
// for one goroutine at a time.
type Programs struct {
	objects followers
	expire  *ebpf.Program // of the timer wheel; nil: it is not followed, and unwound says why
	unwound error
	links   []link.Link
	ring    *ringbuf.Reader
	facts   facts
	taken   bool // a Tracer has them
}

// Load loads and attaches them; they tell of nothing yet. The error wraps ErrNoTrace where this machine or this user cannot. types are what
// Distil made for this very kernel; nil: its own BTF is read.
func Load(types []byte) (*Programs, error) {
	read := readFacts
	if types != nil {
		read = func() (facts, error) { return distilled(types) }
	}
	f, err := read()
	if err != nil {
		return nil, err
	}
	p := &Programs{facts: f}
	spec, err := loadTrace()
	if err != nil {
		return nil, err
	}
	if err := p.load(f, spec.Copy()); err != nil {
		return nil, errors.Join(untraced(err), p.Close())
	}
	if err := p.attach(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if p.ring, err = ringbuf.NewReader(p.objects.Ring); err != nil {
		return nil, errors.Join(fmt.Errorf("tracepoints: read the ring: %w", err), p.Close())
	}
	p.ring.SetDeadline(time.Unix(1, 0)) // never wait: the programs do not wake a reader
	p.unwound = p.wheel(spec)
	return p, nil
}

// followers are the programs and maps that every kernel must take.
type followers struct {
	Retransmit *ebpf.Program `ebpf:"retransmit"`
	Synack     *ebpf.Program `ebpf:"synack"`
	State      *ebpf.Program `ebpf:"state"`
	Drop       *ebpf.Program `ebpf:"drop"`
	traceMaps
}

// Close unloads them.
func (o *followers) Close() error {
	return errors.Join(o.Retransmit.Close(), o.Synack.Close(), o.State.Close(), o.Drop.Close(), o.traceMaps.Close())
}

// Tracer is what Programs tell of the namespaces of one lab. It is for one goroutine at a time.
type Tracer struct {
	programs *Programs
	own      bool // Close closes the programs
	hosts    []string
	inodes   []uint32
	addrs    [][16]byte
	missed   int // before this one began
	seen     []Event
}

// Trace loads programs for one lab and follows it: see Follow.
func Trace(namespaces []Namespace, types []byte) (*Tracer, error) {
	p, err := Load(types)
	if err != nil {
		return nil, err
	}
	t, err := p.Follow(namespaces)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	t.own = true
	return t, nil
}

// Follow starts to follow the namespaces of a lab, up to the Close of what it returns; only then there can be another. It costs nothing while
// nothing happens, and wakes nobody when something does: see Events.
func (p *Programs) Follow(namespaces []Namespace) (*Tracer, error) {
	if p.taken {
		return nil, errors.New("tracepoints: they follow a lab already; want its Tracer closed first")
	}
	t := &Tracer{programs: p}
	var err error
	if t.missed, err = p.lost(); err != nil {
		return nil, err
	}
	p.taken = true
	for i, n := range namespaces {
		if err := t.follow(uint8(i), n); err != nil {
			return nil, errors.Join(err, t.Close())
		}
	}
	return t, nil
}

// followed are the tracepoints, in the order of programs.
var followed = []string{"tcp_retransmit_skb", "tcp_retransmit_synack", "inet_sock_set_state", "kfree_skb"}

func (p *Programs) programs() []*ebpf.Program {
	return []*ebpf.Program{p.objects.Retransmit, p.objects.Synack, p.objects.State, p.objects.Drop}
}

func (p *Programs) attach() error {
	for i, program := range p.programs() {
		var l link.Link
		var err error
		if p.facts.distilled != nil {
			l, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: followed[i], Program: program})
		} else {
			l, err = link.AttachTracing(link.TracingOptions{Program: program})
		}
		if err != nil {
			return untraced(fmt.Errorf("attach %v: %w", program, err))
		}
		p.links = append(p.links, l)
	}
	return nil
}

func (p *Programs) load(f facts, spec *ebpf.CollectionSpec) error {
	for name, has := range map[string]bool{traceVarHasErr: f.retransmitArgs > 2, traceVarHasRxSk: f.dropArgs > 4} {
		n := uint8(0)
		if has {
			n = 1
		}
		if err := spec.Variables[name].Set(n); err != nil {
			return err
		}
	}
	o := &ebpf.CollectionOptions{Cache: f.types}
	if f.distilled != nil {
		asRaw(spec)
		o.Programs.KernelTypes = f.distilled
	}
	return spec.LoadAndAssign(&p.objects, o)
}

// follow lets the events of a namespace through.
func (t *Tracer) follow(i uint8, n Namespace) error {
	var st unix.Stat_t
	if err := unix.Stat(n.Path, &st); err != nil {
		return fmt.Errorf("%s: look for the namespace: %w", n.Host, err)
	}
	t.hosts = append(t.hosts, n.Host)
	inode := uint32(st.Ino)
	if err := t.programs.objects.Hosts.Put(inode, i); err != nil {
		return fmt.Errorf("tracepoints: %s: %w", n.Host, err)
	}
	t.inodes = append(t.inodes, inode)
	var addr [16]byte
	copy(addr[:], n.Addr.AsSlice())
	if err := t.programs.objects.Addresses.Put(addr, i); err != nil {
		return fmt.Errorf("tracepoints: %s: %w", n.Host, err)
	}
	t.addrs = append(t.addrs, addr)
	return nil
}

// forget lets nothing of a lab through any more.
func (p *Programs) forget(t *Tracer) error {
	var errs []error
	for _, inode := range t.inodes {
		errs = append(errs, p.objects.Hosts.Delete(inode))
	}
	for _, addr := range t.addrs {
		errs = append(errs, p.objects.Addresses.Delete(addr))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("tracepoints: end a lab: %w", err)
	}
	return nil
}

// untraced says in words what this machine or this user lacks. Lockdown and a missing capability give the same EPERM.
func untraced(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		// The library's own words speak of RLIMIT_MEMLOCK, which is not it on the kernels that have what else is needed.
		return fmt.Errorf("%w: bpf(2) takes root in the first user namespace and a kernel that is not locked down: %w", ErrNoTrace, unix.EPERM)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: this kernel has no bpf(2): %w", ErrNoTrace, err)
	}
	return fmt.Errorf("%w: %w", ErrNoTrace, err)
}

// Close ends it. What Events returned stays.
func (t *Tracer) Close() error {
	p := t.programs
	if p == nil {
		return nil
	}
	t.programs, p.taken = nil, false
	if t.own {
		return p.Close()
	}
	err := p.forget(t)
	for { // what nobody asked for
		if _, rerr := p.ring.Read(); errors.Is(rerr, os.ErrDeadlineExceeded) {
			return err
		} else if rerr != nil {
			return errors.Join(err, fmt.Errorf("tracepoints: empty the ring: %w", rerr))
		}
	}
}

// Close detaches and unloads them.
func (p *Programs) Close() error {
	var errs []error
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	if p.ring != nil {
		errs = append(errs, p.ring.Close())
	}
	p.links, p.ring = nil, nil
	return errors.Join(append(errs, p.expire.Close(), p.objects.Close())...)
}

// Events takes what is in the ring and returns all events so far, in the order in which the kernel wrote them. The ring holds some 5000
// events; it must be emptied by then.
func (t *Tracer) Events() ([]Event, error) {
	if t.programs == nil {
		return t.seen, nil
	}
	for {
		rec, err := t.programs.ring.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return t.seen, nil
		}
		if err != nil {
			return t.seen, fmt.Errorf("tracepoints: %w", err)
		}
		e, err := t.event(rec.RawSample)
		if err != nil {
			return t.seen, err
		}
		t.seen = append(t.seen, e)
	}
}

// Unwound says why the timer wheel cannot be followed; nil: it is, or nobody wants it.
func (t *Tracer) Unwound() error {
	if t.programs == nil {
		return nil
	}
	return t.programs.unwound
}

// Lost is how many events were not told: they found no room in the ring, or came on a processor on which the same program was at work
// already (an interrupt in the middle of it). The kernel does not run it then, and counts that; such an event may have been of another
// namespace.
func (t *Tracer) Lost() (int, error) {
	if t.programs == nil {
		return 0, errors.New("tracepoints: read the loss counter: the Tracer is closed")
	}
	n, err := t.programs.lost()
	return n - t.missed, err
}

// lost counts since they were loaded.
func (p *Programs) lost() (int, error) {
	var perCPU []uint64
	if err := p.objects.Lost.Lookup(uint32(0), &perCPU); err != nil {
		return 0, fmt.Errorf("tracepoints: read the loss counter: %w", err)
	}
	n := 0
	for _, c := range perCPU {
		n += int(c)
	}
	for _, program := range p.programs() {
		s, err := program.Stats()
		if err != nil {
			return 0, fmt.Errorf("tracepoints: read the misses of %v: %w", program, err)
		}
		n += int(s.RecursionMisses)
	}
	return n, nil
}

// event reads struct event of trace.c.
func (t *Tracer) event(b []byte) (Event, error) {
	var raw traceEvent
	if _, err := binary.Decode(b, binary.NativeEndian, &raw); err != nil {
		return Event{}, fmt.Errorf("tracepoints: an event of %d bytes: %w", len(b), err)
	}
	return raw.event(t.hosts, t.programs.facts), nil
}

// facts are what the running kernel's BTF says of the tracepoints.
type facts struct {
	types                    *btf.Cache // decoded once: that takes 10 ms here, and a second in a virtual machine
	distilled                *btf.Spec  // instead of types, where they were distilled elsewhere
	retransmitArgs, dropArgs int
	reasons                  map[uint32]string // enum skb_drop_reason: the numbers change with each version
}

// readFacts reads them once: the kernel does not change under a program, and its BTF has megabytes.
var readFacts = sync.OnceValues(func() (facts, error) {
	cache := btf.NewCache()
	types, err := cache.Kernel()
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, ebpf.ErrNotSupported) {
		return facts{}, fmt.Errorf("%w: this kernel has no BTF (/sys/kernel/btf/vmlinux, CONFIG_DEBUG_INFO_BTF): %w", ErrNoTrace, err)
	}
	if err != nil {
		return facts{}, untraced(err)
	}
	f, err := factsOf(types)
	f.types = cache
	return f, err
})

// tracepointType begins the name of a tracepoint's type: void (*)(void *data, arguments...).
const tracepointType = "btf_trace_"

func factsOf(types *btf.Spec) (facts, error) {
	f := facts{reasons: map[uint32]string{}}
	var err error
	for name, n := range map[string]*int{"tcp_retransmit_skb": &f.retransmitArgs, "kfree_skb": &f.dropArgs, "tcp_retransmit_synack": new(int), "inet_sock_set_state": new(int)} {
		if *n, err = arguments(types, name); err != nil {
			return facts{}, fmt.Errorf("%w: %w", ErrNoTrace, err)
		}
	}
	var reason *btf.Enum
	if err := types.TypeByName("skb_drop_reason", &reason); err != nil { // since 5.17
		return facts{}, fmt.Errorf("%w: enum skb_drop_reason: %w", ErrNoTrace, err)
	}
	for _, v := range reason.Values {
		f.reasons[uint32(v.Value)] = strings.TrimPrefix(v.Name, "SKB_DROP_REASON_")
	}
	return f, nil
}

// arguments counts a tracepoint's arguments.
func arguments(types *btf.Spec, name string) (int, error) {
	var def *btf.Typedef
	if err := types.TypeByName(tracepointType+name, &def); err != nil {
		return 0, fmt.Errorf("tracepoint %s: %w", name, err)
	}
	if p, ok := def.Type.(*btf.Pointer); ok {
		if proto, ok := p.Target.(*btf.FuncProto); ok {
			return len(proto.Params) - 1, nil
		}
	}
	return 0, fmt.Errorf("tracepoint %s: BTF shows %v, want a pointer to a function", name, def.Type)
}

func (raw *traceEvent) event(hosts []string, f facts) Event {
	e := Event{
		Mono: time.Duration(raw.Ns), Kind: Kind(raw.Kind),
		Src: address(raw.Family, raw.Saddr, raw.Sport), Dst: address(raw.Family, raw.Daddr, raw.Dport),
		Seq: raw.Seq, EndSeq: raw.EndSeq,
	}
	if int(raw.Host) < len(hosts) {
		e.Host = hosts[raw.Host]
	}
	if e.Kind != Drop {
		e.State = states[raw.State]
	}
	switch e.Kind {
	case Retransmit:
		e.Errno, e.Cause = int(-raw.Err), raw.cause()
		e.Timers = raw.timers()
	case SynAck:
		e.Cause, e.N = CauseRequestTimer, int(raw.Count)
		if raw.Armed != 0 {
			e.Cause = CauseRepeatedSYN
		}
	case StateChange:
		e.Was = states[raw.OldState]
		e.Timers = raw.timers()
	case Expire:
		e.Timer, e.Bucket, e.Asked = firing[raw.Count], raw.Bucket, raw.Expires
	case Drop:
		e.TCP = raw.Protocol == unix.IPPROTO_TCP && raw.Sport != 0
		e.Flags, e.Ack, e.EndSeq, e.Len = raw.Flags, raw.EndSeq, 0, int(int32(raw.Count))
		e.Where = function(raw.Where)
		e.Reason = f.reasons[raw.Reason]
		if e.Reason == "" { // of a subsystem: its number is in the upper half
			e.Reason = "REASON_" + strconv.FormatUint(uint64(raw.Reason), 10)
		}
	}
	return e
}

func (raw *traceEvent) timers() Timers {
	ssthresh := int(raw.Ssthresh)
	if ssthresh == infiniteSsthresh {
		ssthresh = 0
	}
	return Timers{CA: caStates[raw.CaState], Pending: pending[raw.Pending], Retransmits: int(raw.Retransmits), Backoff: int(raw.Backoff), RTO: int(raw.Rto),
		Cwnd: int(raw.Cwnd), Ssthresh: ssthresh, Out: int(raw.PacketsOut), Retrans: int(raw.RetransOut), Lost: int(raw.LostOut), Sacked: int(raw.SackedOut)}
}

func address(family uint8, b [16]byte, port uint16) netip.AddrPort {
	switch family {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(b).Unmap(), port)
	}
	return netip.AddrPort{}
}

// function is the name that %ps printed, without what compilers add (nf_hook_slow.isra.0) and without the module ("f [m]").
func function(where [48]int8) string {
	b := make([]byte, len(where))
	for i, c := range where {
		b[i] = byte(c)
	}
	b, _, _ = bytes.Cut(b, []byte{0})
	name, _, _ := strings.Cut(string(b), " ")
	name, _, _ = strings.Cut(name, ".")
	return name
}
