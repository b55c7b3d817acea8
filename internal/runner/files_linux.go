package runner

import (
	"bytes"
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

// write writes the run's folder: captures, result.json, junit.xml, ladder.txt. Each file appears whole or not at all: it is written
// under another name first. A full disk is an error that names the file.
func (r *run) write() error {
	if r.Dir == nil {
		return nil
	}
	for i := range r.res.Captures {
		c := &r.res.Captures[i]
		c.File = c.Host + ".pcapng"
		f := r.captureFile(*c)
		if err := r.put(c.File, func(w io.Writer) error { return pcapout.Write(w, f) }); err != nil {
			return err
		}
	}
	if err := r.put("ladder.txt", func(w io.Writer) error { return report.LadderText(w, r.res) }); err != nil {
		return err
	}
	if err := r.put("junit.xml", func(w io.Writer) error { return report.JUnit(w, r.res) }); err != nil {
		return err
	}
	return r.put("result.json", func(w io.Writer) error { return report.JSON(w, r.res) })
}

// put writes one file of the run's folder.
func (r *run) put(name string, fill func(io.Writer) error) error {
	var b bytes.Buffer
	if err := fill(&b); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	tmp := name + ".part"
	if err := r.store(tmp, name, b.Bytes()); err != nil {
		_ = r.Dir.Remove(tmp)
		return fmt.Errorf("write %s: %w", filepath.Join(r.Dir.Name(), name), err)
	}
	return nil
}

// store writes tmp, to the disk, and gives it its name. The folder is a descriptor and tmp must be new, so that no link that somebody
// put there can lead root elsewhere.
func (r *run) store(tmp, name string, b []byte) error {
	f, err := r.Dir.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, werr := f.Write(b)
	if err := errors.Join(werr, f.Close()); err != nil {
		return err
	}
	return r.Dir.Rename(tmp, name)
}

// captureFile is one host's capture with everything that explains it.
func (r *run) captureFile(c result.Capture) pcapout.File {
	res := r.res
	f := pcapout.File{
		Comment:  r.sectionComment(),
		Hardware: runtime.GOARCH, OS: "Linux " + res.Kernel.Release, Application: res.Tool.Name + " " + res.Tool.Version,
		Interface: c.Host + "/" + lab.Iface, Description: "veth of the " + c.Host + ", on the wire side of netfilter",
		Statistics: &pcapout.Statistics{Start: res.Started, End: time.Now(), Received: uint64(c.Packets + c.Dropped), Dropped: uint64(c.Dropped)},
	}
	for _, h := range res.Hosts {
		if a, err := netip.ParseAddr(h.Addr); err == nil {
			f.Names = append(f.Names, pcapout.Name{Addr: a, Name: h.Name})
		}
	}
	id := r.judged.ids(c.Host)
	for i, p := range r.obs.capture[c.Host].Packets() {
		rec := pcapout.Record{Packet: p}
		if n, ok := id[i]; ok {
			rec.ID = uint64(n)
			rec.Comments = r.comments(n)
		}
		f.Records = append(f.Records, rec)
	}
	return f
}

// ids maps a capture's records to packet numbers.
func (v *view) ids(host string) map[int]int {
	ids := map[int]int{}
	for i, s := range v.sights {
		if s.from == host && s.atSender >= 0 {
			ids[s.atSender] = i + 1
		}
		if s.to == host && s.atTo >= 0 {
			ids[s.atTo] = i + 1
		}
	}
	return ids
}
