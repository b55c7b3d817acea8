package pcapout

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// packetSocket opens an AF_PACKET socket in the calling thread's network namespace. Its protocol is 0: it receives nothing before
// bind.
func packetSocket() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("open a packet socket: want CAP_NET_RAW in this network namespace; run as root: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	return os.NewFile(uintptr(fd), "packet socket"), nil
}

// control runs a function on the descriptor while it cannot be closed.
func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var derr error
	if err := raw.Control(func(fd uintptr) { derr = do(int(fd)) }); err != nil {
		return err
	}
	return derr
}

// interfaceIndex asks through the packet socket, so the answer is that of the socket's namespace.
func interfaceIndex(fd int, name string) (int, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("interface name %q: want 1 to %d characters: %w", name, unix.IFNAMSIZ-1, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, fmt.Errorf("find the interface: %w", err)
	}
	index := int(req.Uint32())
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return 0, fmt.Errorf("find the interface's state: %w", err)
	}
	if req.Uint16()&unix.IFF_UP == 0 {
		return 0, fmt.Errorf("the interface is down: bring it up first (ip link set %s up): %w", name, unix.ENETDOWN)
	}
	return index, nil
}

func setReceiveBuffer(fd, bytes int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes)
	if errors.Is(err, unix.EPERM) {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
	}
	if err != nil {
		return fmt.Errorf("set the receive buffer to %d bytes: %w", bytes, err)
	}
	return nil
}

// bind starts the reception of everything that goes in or out. ETH_P_ALL and nothing narrower: the tap on the way out serves no other
// protocol (dev_queue_xmit_nit).
func bind(fd, index int) error {
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}); err != nil {
		return fmt.Errorf("bind to interface %d: %w", index, err)
	}
	return nil
}

// settle waits until no processor is in the middle of queueing a packet that the filter before attach let in: rebinding to another
// protocol takes the socket off the tap and waits for a grace period (__unregister_prot_hook, synchronize_net). Nothing arrives after.
func settle(fd, index int) error {
	err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_802_EX1 + 1), Ifindex: index})
	if err != nil && !errors.Is(err, unix.ENODEV) { // the interface is gone, which the reader sees as ENETDOWN
		return fmt.Errorf("take the socket off interface %d: %w", index, err)
	}
	return nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8&0xff }

// etherTypeFilter takes the frames of the given EtherTypes, whole. An empty list takes none.
func etherTypeFilter(types []uint16) ([]bpf.RawInstruction, error) {
	if len(types) > 100 {
		return nil, fmt.Errorf("filter on %d EtherTypes: want at most 100", len(types))
	}
	prog := []bpf.Instruction{bpf.LoadAbsolute{Off: 12, Size: 2}}
	for i, t := range types {
		prog = append(prog, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(t), SkipTrue: uint8(len(types) - i)})
	}
	return bpf.Assemble(append(prog, bpf.RetConstant{Val: 0}, bpf.RetConstant{Val: 0xffffffff}))
}

// attach puts a filter on the socket in place of the one before, in one step.
func attach(fd int, prog []bpf.RawInstruction) error {
	code := make([]unix.SockFilter, len(prog))
	for i, in := range prog {
		code[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}); err != nil {
		return fmt.Errorf("attach the packet filter: %w", err)
	}
	return nil
}
