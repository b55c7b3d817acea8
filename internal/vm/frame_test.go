package vm

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func frames(t testing.TB, ms ...Message) []byte {
	t.Helper()
	var b []byte
	for _, m := range ms {
		var err error
		if b, err = appendFrame(b, m); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// What is sent arrives, packed or not, and the end is the end.
func TestFrames(t *testing.T) {
	sent := []Message{{Name: "empty"}, {Name: "small", Data: []byte("x")}, {Name: "large", Data: bytes.Repeat([]byte("tcp "), 100_000)}, {Name: msgEnd}}
	b := frames(t, sent...)
	if len(b) > 10_000 {
		t.Errorf("got %d bytes for 400000 that repeat, want them packed", len(b))
	}
	r := bytes.NewReader(b)
	for _, want := range sent {
		got, err := readFrame(r)
		if err != nil || got.Name != want.Name || !bytes.Equal(got.Data, want.Data) {
			t.Fatalf("got %q with %d bytes, %v, want %q with %d", got.Name, len(got.Data), err, want.Name, len(want.Data))
		}
	}
	if _, err := readFrame(r); err != io.EOF {
		t.Errorf("after the last: got %v, want EOF", err)
	}
}

// A byte that is changed, anywhere, and an end that comes too soon are noticed.
func TestDamagedFrames(t *testing.T) {
	whole := frames(t, Message{Name: "a", Data: bytes.Repeat([]byte("0123456789"), 100)})
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		if m, err := readFrame(bytes.NewReader(b)); !errors.Is(err, errFrame) {
			t.Errorf("byte %d changed: got %q, %v, want errFrame", i, m.Name, err)
		}
		if i > 0 {
			if _, err := readFrame(bytes.NewReader(whole[:i])); !errors.Is(err, errFrame) {
				t.Errorf("cut after %d bytes: got %v, want errFrame", i, err)
			}
		}
	}
	if _, err := appendFrame(nil, Message{}); err == nil {
		t.Error("a message without a name: got nil, want an error")
	}
}

// FuzzReadFrame: whatever comes, it is a message, an error or the end; never a panic, and never much memory.
func FuzzReadFrame(f *testing.F) {
	f.Add(frames(f, Message{Name: "a", Data: []byte("b")}, Message{Name: "c", Data: bytes.Repeat([]byte{1}, 1000)}))
	f.Add([]byte(frameMagic + "\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		for {
			m, err := readFrame(r)
			if err != nil {
				if err != io.EOF && !errors.Is(err, errFrame) {
					t.Fatalf("got %v, want errFrame or EOF", err)
				}
				return
			}
			again, err := readFrame(bytes.NewReader(frames(t, m)))
			if err != nil || again.Name != m.Name || !bytes.Equal(again.Data, m.Data) {
				t.Fatalf("%q does not survive: %v", m.Name, err)
			}
		}
	})
}
