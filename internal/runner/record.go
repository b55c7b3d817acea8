package runner

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/pcapout"
)

// Record is what a run left: all that its files are made of. A guest sends it to the host, which is faster at making them.
type Record struct {
	Result   *result.Result
	Captures []Capture // beside those of the result
}

// Capture is one host's.
type Capture struct {
	Packets []pcapout.Packet
	IDs     []int     // beside packets: the number of each in the result; 0: it is not in it
	Ended   time.Time // when it was written down
}

// Write writes the run's folder: captures, ladder.txt, junit.xml, result.json. Each file appears whole or not at all: it is written
// under another name first. A full disk is an error that names the file. chinese is as Options.Chinese.
func (r Record) Write(dir *os.Root, chinese func(string) (string, bool)) error {
	if len(r.Captures) != len(r.Result.Captures) {
		return fmt.Errorf("write %s: %d captures, the result is of %d", dir.Name(), len(r.Captures), len(r.Result.Captures))
	}
	say := &speech{remarks: comment(r.Result), translate: chinese}
	for i, c := range r.Captures {
		f := r.file(i, c, say)
		if err := put(dir, captureName(r.Result.Captures[i].Host), func(w io.Writer) error { return pcapout.Write(w, f) }); err != nil {
			return err
		}
	}
	if err := put(dir, "ladder.txt", func(w io.Writer) error { return report.LadderText(w, r.Result) }); err != nil {
		return err
	}
	if err := put(dir, "junit.xml", func(w io.Writer) error { return report.JUnit(w, r.Result) }); err != nil {
		return err
	}
	return put(dir, "result.json", func(w io.Writer) error { return report.JSON(w, r.Result) })
}

func captureName(host string) string { return host + ".pcapng" }

// put writes one file of the run's folder.
func put(dir *os.Root, name string, fill func(io.Writer) error) error {
	var b bytes.Buffer
	if err := fill(&b); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	tmp := name + ".part"
	if err := store(dir, tmp, name, b.Bytes()); err != nil {
		_ = dir.Remove(tmp)
		return fmt.Errorf("write %s: %w", filepath.Join(dir.Name(), name), err)
	}
	return nil
}

// store writes tmp, to the disk, and gives it its name. The folder is a descriptor and tmp must be new, so that no link that somebody
// put there can lead root elsewhere.
func store(dir *os.Root, tmp, name string, b []byte) error {
	f, err := dir.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, werr := f.Write(b)
	if err := errors.Join(werr, f.Close()); err != nil {
		return err
	}
	return dir.Rename(tmp, name)
}

// file is the capture file of one host, with everything that explains it.
func (r Record) file(i int, c Capture, say *speech) pcapout.File {
	res, of := r.Result, r.Result.Captures[i]
	f := pcapout.File{
		Comment:  say.section(res),
		Hardware: runtime.GOARCH, OS: "Linux " + res.Kernel.Release, Application: res.Tool.Name + " " + res.Tool.Version,
		Interface: of.Host + "/" + lab.Iface, Description: "veth of the " + of.Host + ", on the wire side of netfilter",
		Statistics: &pcapout.Statistics{Start: res.Started, End: c.Ended, Received: uint64(of.Packets + of.Dropped), Dropped: uint64(of.Dropped)},
	}
	for _, h := range res.Hosts {
		if a, err := netip.ParseAddr(h.Addr); err == nil {
			f.Names = append(f.Names, pcapout.Name{Addr: a, Name: h.Name})
		}
	}
	for k, p := range c.Packets {
		rec := pcapout.Record{Packet: p}
		if n := c.IDs[k]; n != 0 {
			rec.ID = uint64(n)
			rec.Comments = say.of(n)
		}
		f.Records = append(f.Records, rec)
	}
	return f
}

// A capture in bytes, for a guest's channel, is when it ended and, for each packet, its time (nanoseconds since 1970), its number, its length on the wire,
// what was lost before it, the length of its data with 1 in the lowest bit where it went out, and the data. All of them are varints, but for the data.

// Append adds the capture to b.
func (c Capture) Append(b []byte) []byte {
	b = binary.AppendVarint(b, c.Ended.UnixNano())
	for i, p := range c.Packets {
		size := uint64(len(p.Data)) << 1
		if p.Outgoing {
			size |= 1
		}
		b = binary.AppendVarint(b, p.Time.UnixNano())
		for _, n := range []uint64{uint64(c.IDs[i]), uint64(p.OrigLen), p.Lost, size} {
			b = binary.AppendUvarint(b, n)
		}
		b = append(b, p.Data...)
	}
	return b
}

var errCaptureBytes = errors.New("the guest's capture is damaged")

// ReadCapture reads what Append wrote. It shares memory with b.
func ReadCapture(b []byte) (c Capture, err error) {
	signed := func() (n int64) {
		n, size := binary.Varint(b)
		if size <= 0 {
			err, size = errCaptureBytes, 0
		}
		b = b[size:]
		return n
	}
	unsigned := func(most uint64) uint64 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > most {
			err, size = errCaptureBytes, 0
		}
		b = b[size:]
		return n
	}
	const whole = 1 << 31
	c.Ended = time.Unix(0, signed())
	for len(b) > 0 && err == nil {
		p := pcapout.Packet{Time: time.Unix(0, signed())}
		id := unsigned(whole)
		p.OrigLen, p.Lost = int(unsigned(whole)), unsigned(1<<63)
		size := unsigned(whole)
		p.Outgoing = size&1 != 0
		if size >>= 1; err != nil || size > uint64(len(b)) {
			return c, errCaptureBytes
		}
		p.Data, b = b[:size:size], b[size:]
		c.Packets, c.IDs = append(c.Packets, p), append(c.IDs, int(id))
	}
	return c, err
}
