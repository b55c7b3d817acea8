package pcapout

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// SourceOptions say how to capture. The zero value captures all of every IPv4 and IPv6 packet.
type SourceOptions struct {
	// EtherTypes are the protocols that pass the kernel's filter. nil: IPv4 (0x0800) and IPv6 (0x86dd).
	EtherTypes []uint16
	// SnapLen is how many bytes of a frame are kept. 0: 262144, which is all of it.
	SnapLen int
	// ReceiveBuffer is SO_RCVBUF in bytes, before the kernel doubles it. 0: 8 MiB. With CAP_NET_ADMIN in the initial user namespace it is
	// set whatever net.core.rmem_max says; without, the kernel cuts it to rmem_max, and Stats tells whether that was too little.
	ReceiveBuffer int
	// MaxBytes bounds the memory of the packets held. 0: 512 MiB. A capture that needs more ends with an error.
	MaxBytes int64
}

func (o SourceOptions) withDefaults() SourceOptions {
	if o.EtherTypes == nil {
		o.EtherTypes = []uint16{unix.ETH_P_IP, unix.ETH_P_IPV6}
	}
	if o.SnapLen <= 0 {
		o.SnapLen = maxFrame
	}
	if o.ReceiveBuffer <= 0 {
		o.ReceiveBuffer = 8 << 20
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 512 << 20
	}
	return o
}

// Stats are the kernel's counters of a Source since Open (PACKET_STATISTICS, added up, for reading them resets them).
type Stats struct {
	Received uint64 // packets that passed the filter, the dropped ones included
	Dropped  uint64 // packets for which the receive buffer had no room
}

// Source is a running capture on one interface. It keeps every packet until it is garbage; a slow consumer loses none. Its methods
// may be called from any goroutine, in any namespace.
//
// It reads an AF_PACKET socket with recvmsg of its own instead of gopacket's EthernetHandle, for three reasons: EthernetHandle puts
// time.Now in place of a missing stamp without a word, it throws away sll_pkttype, which alone says which way a packet went on an
// interface whose two ends may share a MAC address, and it has no way to the receive buffer.
type Source struct {
	name  string
	index int
	opt   SourceOptions
	file  *os.File // non-blocking, so the runtime's poller waits and Close can interrupt
	done  chan struct{}

	closing  sync.Once
	closeErr error

	mu      sync.Mutex
	packets []Packet
	held    int64
	stats   Stats
	closed  bool          // the socket is gone, stats are final
	err     error         // why the capture ended; io.EOF after Close
	more    chan struct{} // closed and replaced when packets or err change
}

// Open starts to capture on an interface of the calling thread's network namespace. The thread must stay in that namespace for the
// call; the Source works from everywhere. The interface must be up and carry Ethernet frames (veth, bridge, lo).
//
// When Open returns, every packet from then on is captured and stamped by the kernel at the tap; packets from before are not in it. To
// be sure of the stamps Open sends probe frames with an EtherType for local experiments to the interface's own address. They reach the
// other end of the cable and are thrown away there; no Source captures them.
func Open(iface string, o SourceOptions) (*Source, error) {
	s, err := open(iface, o.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", iface, err)
	}
	go s.run()
	return s, nil
}

func open(iface string, o SourceOptions) (_ *Source, err error) {
	f, err := packetSocket()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	prog, err := etherTypeFilter(o.EtherTypes)
	if err != nil {
		return nil, err
	}
	var index int
	err = control(f, func(fd int) error {
		if index, err = interfaceIndex(fd, iface); err != nil {
			return err
		}
		if err := setReceiveBuffer(fd, o.ReceiveBuffer); err != nil {
			return err
		}
		// Stamps go on before the probe: the kernel counts the sockets that want them (net_enable_timestamp), and this one keeps
		// them on for as long as it lives.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return fmt.Errorf("set SO_TIMESTAMPNS: %w", err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1); err != nil {
			return fmt.Errorf("set SO_RXQ_OVFL: %w", err)
		}
		return attach(fd, prog)
	})
	if err != nil {
		return nil, err
	}
	// The socket has protocol 0 until the bind below, so it receives nothing yet, and the probes never come near it.
	if err := awaitStamps(f, index); err != nil {
		return nil, err
	}
	if err := control(f, func(fd int) error { return bind(fd, index) }); err != nil {
		return nil, err
	}
	return &Source{name: iface, index: index, opt: o, file: f, done: make(chan struct{}), more: make(chan struct{})}, nil
}

// Close ends the capture: nothing that arrives later is taken, what the kernel already holds is still read. It waits for the reader,
// is safe while others wait in From, and may be called twice. It returns the error with which the capture ended, if it did so before.
func (s *Source) Close() error {
	s.closing.Do(func() {
		// A filter that takes nothing lets the reader see the end of the queue even on a busy interface.
		none, err := etherTypeFilter([]uint16{})
		if err == nil {
			err = control(s.file, func(fd int) error {
				return errors.Join(attach(fd, none), settle(fd, s.index))
			})
		}
		err = errors.Join(err, s.file.SetReadDeadline(time.Unix(1, 0)))
		<-s.done
		_, serr := s.Stats()
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.closeErr = errors.Join(err, serr, s.file.Close())
	})
	return errors.Join(s.Err(), s.closeErr)
}

// Err returns why the capture ended by itself: the interface went down (unix.ENETDOWN), MaxBytes was reached, or a stamp was not made at
// the tap. nil: it is running, or was closed.
func (s *Source) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == io.EOF {
		return nil
	}
	return s.err
}

// From returns the packets after the first n, in the order in which the kernel queued them, and waits for one where there is none yet.
// Each consumer keeps its own n. After the last packet it returns io.EOF when the Source was closed, the error of Err when the capture
// ended by itself, or that of ctx. The slice is shared: do not change the packets.
func (s *Source) From(ctx context.Context, n int) ([]Packet, error) {
	for {
		s.mu.Lock()
		packets, err, more := s.packets, s.err, s.more
		s.mu.Unlock()
		if n < len(packets) {
			return slices.Clip(packets[max(n, 0):]), nil
		}
		if err != nil {
			return nil, err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, fmt.Errorf("capture on %s: wait for packet %d: %w", s.name, n+1, ctx.Err())
		}
	}
}

// Packets returns the packets captured so far. The slice is shared: do not change the packets.
func (s *Source) Packets() []Packet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clip(s.packets)
}

// Stats returns the counters since Open; after Close, the final ones. Once closed, Received less Dropped is len(Packets()).
func (s *Source) Stats() (Stats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.stats, nil
	}
	err := control(s.file, func(fd int) error {
		st, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err != nil {
			return fmt.Errorf("get PACKET_STATISTICS: %w", err)
		}
		// tp_packets includes tp_drops (packet_getsockopt adds them), and both restart at 0 now.
		s.stats.Received += uint64(st.Packets)
		s.stats.Dropped += uint64(st.Drops)
		return nil
	})
	if err != nil {
		return s.stats, fmt.Errorf("capture on %s: %w", s.name, err)
	}
	return s.stats, nil
}

// run is the only reader of the socket. Close and an error of the socket both end it by way of the queue: what is in there was
// captured before.
func (s *Source) run() {
	defer close(s.done)
	buf, oob := make([]byte, s.opt.SnapLen), make([]byte, 128)
	lost := uint32(0) // since Open, when the packet before was queued
	var end error
	for end == nil {
		p, err := receive(s.file, buf, oob, true)
		if err == nil {
			err = s.add(p.after(&lost))
		}
		end = err
	}
	for !errors.Is(end, errLimit) {
		p, err := receive(s.file, buf, oob, false)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err == nil {
			err = s.add(p.after(&lost))
		}
		if err != nil {
			end = err
			if !errors.Is(err, unix.ENETDOWN) { // comes once (sock_error clears it), and packets from before may follow
				break
			}
		}
	}
	s.finish(end)
}

func (s *Source) finish(end error) {
	switch {
	case errors.Is(end, os.ErrDeadlineExceeded):
		end = io.EOF
	case errors.Is(end, unix.ENETDOWN):
		end = fmt.Errorf("capture on %s: the interface went down or was removed: %w", s.name, end)
	default:
		end = fmt.Errorf("capture on %s: %w", s.name, end)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = end
	close(s.more)
}

var errLimit = errors.New("packets fill the memory allowed")

func (s *Source) add(p Packet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held += int64(len(p.Data)) + recordCost; s.held > s.opt.MaxBytes {
		return fmt.Errorf("%w: %d packets in %d bytes: raise SourceOptions.MaxBytes or lower SnapLen", errLimit, len(s.packets), s.opt.MaxBytes)
	}
	s.packets = append(s.packets, p)
	close(s.more)
	s.more = make(chan struct{})
	return nil
}

// received is a packet as the socket hands it over.
type received struct {
	Packet
	lost uint32 // packets for which the socket had no room, since it was opened; it wraps
}

// after is the packet behind one at which so many were lost.
func (r received) after(lost *uint32) Packet {
	r.Lost = uint64(r.lost - *lost)
	*lost = r.lost
	return r.Packet
}

// receive reads one packet, waiting for it in the runtime's poller if wait is set. Without, an empty queue is EAGAIN.
func receive(f *os.File, buf, oob []byte, wait bool) (received, error) {
	var p received
	var err error
	read := func(fd uintptr) bool {
		p, err = recvmsg(int(fd), buf, oob)
		return !errors.Is(err, unix.EAGAIN)
	}
	raw, rerr := f.SyscallConn()
	if rerr != nil {
		return p, rerr
	}
	if wait {
		rerr = raw.Read(read)
	} else {
		// Control does not look at the read deadline, which is how Close wakes the reader.
		rerr = raw.Control(func(fd uintptr) { read(fd) })
	}
	if rerr != nil {
		return p, rerr
	}
	return p, err
}

// errReadStamp says that a packet's stamp was made when the packet was read.
var errReadStamp = errors.New("time stamp is younger than the queued packet: the kernel did not stamp it at the tap, or the clock was set back; run again")

// recvmsg takes one packet out of the queue, or returns EAGAIN. A packet that passed the tap while the kernel was not stamping looks
// like any other: __sock_recv_timestamp fills in the time of reading. So the queue is looked at first (SIOCINQ), the clock second, and a
// stamp must not be younger than that.
func recvmsg(fd int, buf, oob []byte) (received, error) {
	queued, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	if err != nil {
		return received{}, fmt.Errorf("look at the queue: %w", err)
	}
	if queued == 0 {
		return received{}, socketError(fd)
	}
	now := time.Now()
	var n, oobn int
	var from unix.Sockaddr
	err = unix.EINTR
	for err == unix.EINTR {
		// MSG_TRUNC: n is the frame's length, also where buf is shorter (packet_recvmsg).
		n, oobn, _, from, err = unix.Recvmsg(fd, buf, oob, unix.MSG_TRUNC|unix.MSG_DONTWAIT)
	}
	if err != nil {
		return received{}, fmt.Errorf("recvmsg: %w", err)
	}
	stamp, lost, err := told(oob[:oobn])
	if err != nil {
		return received{}, err
	}
	if stamp.After(now) {
		return received{}, errReadStamp
	}
	sll, ok := from.(*unix.SockaddrLinklayer)
	if !ok {
		return received{}, fmt.Errorf("recvmsg: address %T: want a link-layer one", from)
	}
	return received{Packet{
		Time: stamp, Data: slices.Clone(buf[:min(n, len(buf))]), OrigLen: n,
		Outgoing: sll.Pkttype == unix.PACKET_OUTGOING,
	}, lost}, nil
}

// socketError takes the pending error of a socket whose queue is empty; EAGAIN where there is none.
func socketError(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return fmt.Errorf("get SO_ERROR: %w", err)
	}
	if code != 0 {
		return fmt.Errorf("packet socket: %w", unix.Errno(code))
	}
	return unix.EAGAIN
}

// told reads what the kernel says of a message: SCM_TIMESTAMPNS, whose absence is an error, because a time taken here would be a time of reading,
// and how many packets the socket had lost when it was queued, which is left out where that is none (sock_recv_drops).
func told(oob []byte) (stamp time.Time, lost uint32, err error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return stamp, 0, fmt.Errorf("control message: %w", err)
	}
	ne := binary.NativeEndian
	for _, m := range msgs {
		switch {
		case m.Header.Level != unix.SOL_SOCKET:
		case m.Header.Type == unix.SO_RXQ_OVFL && len(m.Data) == 4:
			lost = ne.Uint32(m.Data)
		case m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) == 16: // struct timespec with 64-bit fields
			stamp = time.Unix(int64(ne.Uint64(m.Data)), int64(ne.Uint64(m.Data[8:])))
		case m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) == 8: // SO_TIMESTAMPNS_OLD of a 32-bit process
			stamp = time.Unix(int64(int32(ne.Uint32(m.Data))), int64(ne.Uint32(m.Data[4:])))
		}
	}
	if stamp.IsZero() {
		err = errors.New("packet without a kernel time stamp (SCM_TIMESTAMPNS): tcplab needs a kernel that stamps packets")
	}
	return stamp, lost, err
}

// hardwareAddr is the MAC address of the interface to which a packet socket is bound.
func hardwareAddr(fd int) (net.HardwareAddr, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, fmt.Errorf("getsockname: %w", err)
	}
	sll, ok := sa.(*unix.SockaddrLinklayer)
	if !ok {
		return nil, fmt.Errorf("getsockname: address %T: want a link-layer one", sa)
	}
	if t := sll.Hatype; t != unix.ARPHRD_ETHER && t != unix.ARPHRD_LOOPBACK || sll.Halen != 6 {
		return nil, fmt.Errorf("hardware type %d with addresses of %d bytes: want Ethernet", t, sll.Halen)
	}
	return slices.Clone(sll.Addr[:6]), nil
}
