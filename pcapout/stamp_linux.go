package pcapout

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// awaitStamps returns when the kernel stamps packets at the tap. sender is the capture's socket, not bound yet, with SO_TIMESTAMPNS on.
//
// The option takes effect late: net_enable_timestamp flips its static key in deferred work (measured: 3 to 20 ms on a busy machine, at
// once where another socket has asked before). A probe shows it, for recvmsg tells a stamp of the tap from one made in reading. A
// queueing discipline that delays the probe (netem) changes nothing in this.
func awaitStamps(sender *os.File, index int) (err error) {
	listener, err := packetSocket()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, listener.Close()) }()
	// A socket never sees its own frames at the tap (skb_loop_sk): hence two of them.
	var mac net.HardwareAddr
	probe := make([]byte, 60)
	err = control(listener, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return fmt.Errorf("set SO_TIMESTAMPNS: %w", err)
		}
		rand.Read(probe[14:22]) // never fails (crypto/rand): marks this call's probes among those of others
		prog, err := probeFilter(probe[14:22])
		if err != nil {
			return err
		}
		if err := attach(fd, prog); err != nil {
			return err
		}
		if err := bind(fd, index); err != nil {
			return err
		}
		mac, err = hardwareAddr(fd)
		return err
	})
	if err != nil {
		return err
	}
	copy(probe, mac)
	copy(probe[6:], mac)
	binary.BigEndian.PutUint16(probe[12:], probeEtherType)
	deadline := time.Now().Add(stampTimeout)
	pace := time.NewTicker(probePace)
	defer pace.Stop()
	for n := uint64(1); time.Now().Before(deadline); n++ {
		binary.BigEndian.PutUint64(probe[22:], n)
		live, err := probeOnce(sender, listener, index, probe)
		if err != nil {
			return fmt.Errorf("probe the kernel's time stamps: %w", err)
		}
		if live {
			return nil
		}
		<-pace.C
	}
	return fmt.Errorf("no probe came back with a time stamp of the kernel within %v: the machine is stalled, or the interface's queue "+
		"(tc qdisc) drops everything", stampTimeout)
}

const (
	// stampTimeout is how long Open waits for the kernel to begin to stamp. The work behind it takes well under a millisecond.
	stampTimeout = 5 * time.Second
	// probePace keeps thousands of probes off the cable, and leaves the processor to the work that is awaited.
	probePace = 200 * time.Microsecond
	// probeTimeout is how long one probe may stay in the interface's queue before another is sent.
	probeTimeout = time.Second
)

// probeEtherType is ETH_P_802_EX1, IEEE 802 local experimental EtherType 1: no protocol takes it.
const probeEtherType = 0x88b5

// probeFilter takes probes that carry mark, 8 bytes.
func probeFilter(mark []byte) ([]bpf.RawInstruction, error) {
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: probeEtherType, SkipTrue: 5},
		bpf.LoadAbsolute{Off: 14, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(mark), SkipTrue: 3},
		bpf.LoadAbsolute{Off: 18, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(mark[4:]), SkipTrue: 1},
		bpf.RetConstant{Val: 0xffffffff},
		bpf.RetConstant{Val: 0},
	})
}

// probeOnce sends a probe, reads it back, and reports whether its stamp was made at the tap. A lost probe is false.
func probeOnce(sender, listener *os.File, index int, probe []byte) (bool, error) {
	err := control(sender, func(fd int) error {
		return unix.Sendto(fd, probe, 0, &unix.SockaddrLinklayer{Protocol: htons(probeEtherType), Ifindex: index})
	})
	if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) {
		return false, nil // the caller sends another
	}
	if err != nil {
		return false, fmt.Errorf("sendto: %w", err)
	}
	if err := listener.SetReadDeadline(time.Now().Add(probeTimeout)); err != nil {
		return false, err
	}
	buf, oob := make([]byte, len(probe)), make([]byte, 128)
	for {
		p, err := receive(listener, buf, oob, true)
		if errors.Is(err, errReadStamp) || errors.Is(err, os.ErrDeadlineExceeded) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		// On lo a probe comes back in, and a delayed one may come late: only the copy that went out, and only this one.
		if p.Outgoing && bytes.Equal(p.Data, probe) {
			return true, nil
		}
	}
}
