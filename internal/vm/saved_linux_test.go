package vm

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

const testMemory = 8 * pageSize

// savedGuest is the file of a small guest, and what was in its memory.
func savedGuest(t testing.TB) (file, memory []byte) {
	t.Helper()
	memory = make([]byte, testMemory)
	copy(memory[pageSize:], "one")
	copy(memory[5*pageSize:], "two")
	h := savedHead{Key: "k", Mailbox: []uint64{5, 2}, Memory: testMemory, Devices: 7, Parts: []part{{pageSize, pageSize}, {4 * pageSize, 2 * pageSize}}}
	var b bytes.Buffer
	if err := writeSaved(&b, h, strings.NewReader("devices and more"), memory); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), memory
}

// What is written is read again, and each bit of it counts: a guest that was changed would do anything.
func TestSaved(t *testing.T) {
	file, memory := savedGuest(t)
	got, devices := make([]byte, testMemory), new(bytes.Buffer)
	h, err := readSaved(bytes.NewReader(file), devices, got)
	if err != nil {
		t.Fatal(err)
	}
	if h.Key != "k" || devices.String() != "devices" || !bytes.Equal(got, memory) {
		t.Errorf("got key %q, devices %q, memory as written: %v", h.Key, devices, bytes.Equal(got, memory))
	}
	for at := range file {
		if at%7 != 0 && at > 300 {
			continue // the head, and a seventh of the rest
		}
		file[at] ^= 1
		if _, err := readSaved(bytes.NewReader(file), new(bytes.Buffer), make([]byte, testMemory)); !errors.Is(err, errSaved) {
			t.Errorf("with another bit in byte %d: got %v, want errSaved", at, err)
		}
		file[at] ^= 1
	}
	for _, n := range []int{0, 3, 20, len(file) / 2, len(file) - 1} {
		if _, err := readSaved(bytes.NewReader(file[:n]), new(bytes.Buffer), make([]byte, testMemory)); !errors.Is(err, errSaved) {
			t.Errorf("cut to %d bytes: got %v, want errSaved", n, err)
		}
	}
	if _, err := readSaved(bytes.NewReader(file), new(bytes.Buffer), make([]byte, 2*testMemory)); !errors.Is(err, errSaved) {
		t.Errorf("of a guest with more memory: got %v, want errSaved", err)
	}
}

// A head that leads out of the guest's memory is refused before anything is read or written there.
func TestSavedHead(t *testing.T) {
	sound := savedHead{Mailbox: []uint64{1}, Memory: testMemory, Devices: 1, Parts: []part{{0, pageSize}}}
	if err := sound.sound(testMemory); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(h *savedHead)
	}{
		{"no mailbox", func(h *savedHead) { h.Mailbox = nil }},
		{"mailbox outside", func(h *savedHead) { h.Mailbox = []uint64{8} }},
		{"no devices", func(h *savedHead) { h.Devices = 0 }},
		{"devices without end", func(h *savedHead) { h.Devices = 1 << 40 }},
		{"part outside", func(h *savedHead) { h.Parts = []part{{7 * pageSize, 2 * pageSize}} }},
		{"part before", func(h *savedHead) { h.Parts = []part{{-pageSize, pageSize}} }},
		{"part of nothing", func(h *savedHead) { h.Parts = []part{{0, 0}} }},
		{"part that overflows", func(h *savedHead) { h.Parts = []part{{pageSize, 1<<63 - 1}} }},
		{"parts over each other", func(h *savedHead) { h.Parts = []part{{0, 2 * pageSize}, {pageSize, pageSize}} }},
	} {
		h := sound
		if c.change(&h); !errors.Is(h.sound(testMemory), errSaved) {
			t.Errorf("%s: not refused", c.name)
		}
	}
}

// FuzzSaved: a file in the cache is anybody's. It is read without a panic and within the guest's memory, and what is read without an error
// is what was written.
func FuzzSaved(f *testing.F) {
	file, memory := savedGuest(f)
	f.Add(file)
	f.Add(file[:40])
	f.Add(bytes.Replace(file, []byte(`"at":4096`), []byte(`"at":9096`), 1))
	f.Add(bytes.Replace(file, []byte(`"devices":7`), []byte(`"devices":8`), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := make([]byte, testMemory)
		h, err := readSaved(bytes.NewReader(b), new(bytes.Buffer), got)
		if err != nil {
			if !errors.Is(err, errSaved) {
				t.Errorf("got %v, want errSaved", err)
			}
			return
		}
		if err := h.sound(testMemory); err != nil {
			t.Error(err)
		}
		if bytes.Equal(b, file) && !bytes.Equal(got, memory) {
			t.Error("what was written is not what is read")
		}
	})
}

// An order comes out of the mailbox as it went in, wherever its pages lie, and one that is too long or damaged is refused.
func TestOrder(t *testing.T) {
	m := &memory{b: make([]byte, testMemory)}
	want := order{Deadline: 3, Request: bytes.Repeat([]byte("runs "), 1200)}
	if err := m.post([]uint64{6, 2, 3}, want); err != nil {
		t.Fatal(err)
	}
	mailbox := append(append(bytes.Clone(m.b[6*pageSize:7*pageSize]), m.b[2*pageSize:3*pageSize]...), m.b[3*pageSize:4*pageSize]...)
	got, err := readOrder(mailbox)
	if err != nil || got.Deadline != want.Deadline || !bytes.Equal(got.Request, want.Request) {
		t.Errorf("got %d bytes within %v (%v), want %d within %v", len(got.Request), got.Deadline, err, len(want.Request), want.Deadline)
	}
	if err := m.post([]uint64{6}, want); err == nil {
		t.Error("an order of two pages went into one")
	}
	if err := m.post([]uint64{6, 8}, want); err == nil {
		t.Error("an order went outside of the memory")
	}
	mailbox[7] = 1
	for _, b := range [][]byte{nil, mailbox[:15], mailbox} {
		if _, err := readOrder(b); err == nil {
			t.Errorf("no error for a mailbox that begins with %.16x", b)
		}
	}
}
