// Command traffic writes a large capture of made-up TCP traffic, for measuring `tcplab analyse` beside other programs: many connections
// at once, each a request and an answer of some kilobytes to some megabytes, with lost segments, duplicate ACKs with SACK, fast
// retransmissions and timeouts, that end by FIN. The same flags give the same bytes.
//
// It is not a model of TCP: it writes what looks right to who reads captures. Its one trap: the checksums are 0, as with offload.
package main

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
)

func main() {
	size := flag.Int64("size", 1<<30, "bytes of the capture, about")
	open := flag.Int("open", 200, "connections at once")
	snap := flag.Int("snap", 65535, "snap length")
	largest := flag.Int("largest", 4000, "segments of the longest answer")
	flag.Parse()
	if err := write(os.Stdout, *size, *open, *snap, *largest); err != nil {
		fmt.Fprintln(os.Stderr, "traffic:", err)
		os.Exit(1)
	}
}

const mss = 1448

// conn is a connection that is being written.
type conn struct {
	client, server [4]byte
	port           uint16
	cseq, sseq     uint32 // next numbers
	cack           uint32 // what the client has acknowledged
	left           int    // segments to send
	hole           uint32 // first byte that is missing at the client; 0: none
	dups           int
	step           int
	id             uint16
}

type writer struct {
	w       *bufio.Writer
	r       *rand.Rand
	now     int64 // µs
	snap    int
	written int64
	buf     []byte
	err     error
}

func write(out io.Writer, size int64, open, snap, largest int) error {
	w := &writer{w: bufio.NewWriterSize(out, 1<<20), r: rand.New(rand.NewPCG(1, 2)), now: 1_700_000_000_000_000, snap: snap, buf: make([]byte, 2048)}
	head := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	head = append(head, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	head = binary.LittleEndian.AppendUint32(head, uint32(snap))
	head = binary.LittleEndian.AppendUint32(head, 1)
	w.put(head)
	conns := make([]*conn, open)
	for n := 0; w.written < size && w.err == nil; {
		i := w.r.IntN(open)
		if conns[i] == nil {
			conns[i] = w.newConn(n, largest)
			n++
		}
		if !w.advance(conns[i]) {
			conns[i] = nil
		}
	}
	if w.err != nil {
		return w.err
	}
	return w.w.Flush()
}

func (w *writer) newConn(n, largest int) *conn {
	return &conn{client: [4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}, server: [4]byte{10, 200, 0, byte(1 + n%7)}, port: uint16(1024 + n%60000),
		cseq: w.r.Uint32(), sseq: w.r.Uint32(), left: 1 + w.r.IntN(1+w.r.IntN(largest))}
}

// advance writes the next packets of a connection, and reports whether there are more.
func (w *writer) advance(c *conn) bool {
	c.step++
	switch {
	case c.step == 1:
		w.segment(c, true, 0x02, c.cseq, 0, 0, nil)
		c.cseq++
	case c.step == 2:
		w.segment(c, false, 0x12, c.sseq, c.cseq, 0, nil)
		c.sseq++
		c.cack = c.sseq
	case c.step == 3:
		w.segment(c, true, 0x10, c.cseq, c.cack, 0, nil)
		w.segment(c, true, 0x18, c.cseq, c.cack, 300, nil)
		c.cseq += 300
	case c.hole != 0 && (c.dups >= 3 || c.left == 0):
		w.repair(c)
	case c.left > 0:
		w.data(c)
	default:
		w.segment(c, false, 0x11, c.sseq, c.cseq, 0, nil)
		w.segment(c, true, 0x11, c.cseq, c.sseq+1, 0, nil)
		w.segment(c, false, 0x10, c.sseq+1, c.cseq+1, 0, nil)
		return false
	}
	return true
}

// data writes up to two segments and what the client says to them.
func (w *writer) data(c *conn) {
	for range min(2, c.left) {
		c.left--
		w.segment(c, false, 0x10, c.sseq, c.cseq, mss, nil)
		c.sseq += mss
		if c.hole == 0 && w.r.IntN(100) == 0 {
			c.hole = c.sseq - mss
			continue
		}
		if c.hole != 0 {
			c.dups++
			w.segment(c, true, 0x10, c.cseq, c.hole, 0, []uint32{c.hole + mss, c.sseq})
		}
	}
	if c.hole == 0 {
		c.cack = c.sseq
		w.segment(c, true, 0x10, c.cseq, c.cack, 0, nil)
	}
}

// repair sends the missing segment again, at once or by the timer.
func (w *writer) repair(c *conn) {
	if c.dups < 3 {
		w.now += 250_000
	}
	w.segment(c, false, 0x10, c.hole, c.cseq, mss, nil)
	c.hole, c.dups, c.cack = 0, 0, c.sseq
	w.segment(c, true, 0x10, c.cseq, c.cack, 0, nil)
}

// segment writes a packet of n bytes of data. sack is one block, or nil.
func (w *writer) segment(c *conn, fromClient bool, flags byte, seq, ack uint32, n int, sack []uint32) {
	w.now += int64(1 + w.r.IntN(40))
	var opt []byte
	switch {
	case flags&0x02 != 0:
		opt = []byte{2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7}
	default:
		opt = []byte{1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0}
	}
	at := 4 // where the time stamp's value begins
	if flags&0x02 != 0 {
		at = 8
	}
	binary.BigEndian.PutUint32(opt[at:], uint32(w.now/1000))
	if sack != nil {
		opt = append(opt, 1, 1, 5, 10)
		opt = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(opt, sack[0]), sack[1])
	}
	b := append(w.buf[:0], 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(40+len(opt)+n))
	c.id++
	b = binary.BigEndian.AppendUint16(b, c.id)
	b = append(b, 0x40, 0, 64, 6, 0, 0)
	src, dst, sport, dport := c.client, c.server, c.port, uint16(443)
	if !fromClient {
		src, dst, sport, dport = dst, src, dport, sport
	}
	b = append(append(b, src[:]...), dst[:]...)
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, sport), dport)
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, seq), ack)
	b = append(b, byte(20+len(opt))<<2, flags, 1, 0xf6, 0, 0, 0, 0)
	b = append(b, opt...)
	b = b[:len(b)+n]
	caplen := min(len(b), w.snap)
	var h [16]byte
	le := binary.LittleEndian
	le.PutUint32(h[0:], uint32(w.now/1_000_000))
	le.PutUint32(h[4:], uint32(w.now%1_000_000))
	le.PutUint32(h[8:], uint32(caplen))
	le.PutUint32(h[12:], uint32(len(b)))
	w.put(h[:])
	w.put(b[:caplen])
}

func (w *writer) put(b []byte) {
	n, err := w.w.Write(b)
	w.written += int64(n)
	if err != nil && w.err == nil {
		w.err = err
	}
}
