package evidence

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// recorded are answers of inet_diag as a Linux 6.18 gave them: struct inet_diag_msg and its attributes, in hexadecimal.
var recorded = map[string]string{
	"syn-sent": "02020100b7901f900a0900010000000000000000000000000a09000200000000000000000000000000000000d311000000000000e00300000000000001000000" +
		"0000000026220700050008000000000008000f00000000000c001500010000000000000006001600520000001c010200020000000000000140420f0000000000" +
		"0c02000058000000010000000000000000000000000000000000000004c341000000000004c3410004c34100dc050000f0fa00000000000090d00300ffffff7f" +
		"0a000000b405000003000000000000000000000000000000ffffffffffffffffffffffffffffffff000000000000000000000000000000000100000000000000" +
		"00000000ffffffff0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000" +
		"000000000000000000000000000000000000000000000000f0fa0000000000000000000000000000000000000000000000000000000000000000000000000000" +
		"0000000000000000",
	"listen": "020a0000b47d00007f0000010000000000000000000000000000000000000000000000000000000000000000d411000000000000000000000000000000100000" +
		"000000002b220700050008000000000008000f00000000000c001500010000000000000006001600520000001c0102000a000000000000000000000000000000" +
		"00000000000000000000000000100000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000" +
		"0a0000000000000003000000000000000000000000000000ffffffffffffffffffffffffffffffff000000000000000000000000000000000000000000000000" +
		"00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000" +
		"00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000" +
		"0000000000000000100013000a0001006d70746370000000",
	"established": "020100008834b47d7f0000010000000000000000000000007f00000100000000000000000000000000000000d511000000000000000000000000000000000000" +
		"000000002f220700050008000000000008000f00000000000c001500010000000000000006001600520000001c010200010000000007aa01e01c030000000000" +
		"e57f000018020000000000000000000000000000000000000000000004000000000000000400000004000000ffff0000d7ff0000150000000a000000ffffff7f" +
		"0a000000cbff00000300000000000000d7ff0000000000004624c85f0a000000ffffffffffffffff010000000000000000000000000000000200000001000000" +
		"00000000150000000000000000000000000000000000000000000000000000000000000000000000000000000000000001000000000000000000000000000000" +
		"0000000000000000000000000000000000000000cbff000000000100000000000000000000000000000000000000000000000000000000000000000000000000" +
		"0000000000000000",
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestParse catches a field read from the wrong place, against answers of a real kernel.
func TestParse(t *testing.T) {
	for name, want := range map[string]Socket{
		"syn-sent":    {State: "SYN-SENT", Timer: "retransmit", Expires: 992 * time.Millisecond, RTO: time.Second, Cwnd: 10, Unacked: 1, SendQueue: 1},
		"listen":      {State: "LISTEN", Cwnd: 10, SendQueue: 4096},
		"established": {State: "ESTABLISHED", RTO: 204 * time.Millisecond, Cwnd: 10},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(unhex(t, recorded[name]))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestParseHostile catches a panic and a guess: what is cut short is an error, or leaves its field empty.
func TestParseHostile(t *testing.T) {
	msg := unhex(t, recorded["syn-sent"])[:72]
	with := func(attrs ...byte) []byte { return append(append([]byte{}, msg...), attrs...) }
	state := append([]byte{}, msg...)
	state[1], state[2] = 200, 9
	for _, tt := range []struct {
		name string
		in   []byte
		want Socket
		err  string
	}{
		{"empty", nil, Socket{}, "answer of 0 bytes, want at least 72"},
		{"a byte short", msg[:71], Socket{}, "answer of 71 bytes"},
		{"no attributes", msg, Socket{State: "SYN-SENT", Timer: "retransmit", Expires: 992 * time.Millisecond, SendQueue: 1}, ""},
		{"unknown state and timer", state, Socket{State: "state 200", SendQueue: 1}, ""},
		{"attribute longer than the answer", with(255, 0, 2, 0), Socket{}, "inet_diag: attributes"},
		{"attribute shorter than its head", with(3, 0, 2, 0), Socket{}, "inet_diag: attributes"},
		{"tcp_info cut short", with(12, 0, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8), Socket{State: "SYN-SENT", Timer: "retransmit", Expires: 992 * time.Millisecond, SendQueue: 1}, ""},
		{"another attribute", with(16, 0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), Socket{State: "SYN-SENT", Timer: "retransmit", Expires: 992 * time.Millisecond, SendQueue: 1}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse(tt.in)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %+v, %v, want an error with %q", got, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRequest catches a port or an address in the wrong byte order or place.
func TestRequest(t *testing.T) {
	v4, v6 := make([]byte, requestLen), make([]byte, requestLen)
	request(v4, netip.MustParseAddrPort("10.99.0.1:513"), netip.MustParseAddrPort("10.99.0.2:8080"))
	if got, want := hex.EncodeToString(v4), "02060200"+"ffffffff"+"02011f90"+"0a630001000000000000000000000000"+"0a630002000000000000000000000000"+"00000000"+"ffffffffffffffff"; got != want {
		t.Errorf("IPv4: got %s, want %s", got, want)
	}
	request(v6, netip.MustParseAddrPort("[fd00::1]:1"), netip.MustParseAddrPort("[fd00::2]:2"))
	if got, want := hex.EncodeToString(v6), "0a060200"+"ffffffff"+"00010002"+"fd000000000000000000000000000001"+"fd000000000000000000000000000002"+"00000000"+"ffffffffffffffff"; got != want {
		t.Errorf("IPv6: got %s, want %s", got, want)
	}
}

// TestUnwrap catches an answer to another question that is taken for this one's, the kernel's error that is lost, and a guess at what was cut short.
func TestUnwrap(t *testing.T) {
	answer := func(size, kind, seq int, data ...byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(size))
		b = binary.NativeEndian.AppendUint16(b, uint16(kind))
		b = binary.NativeEndian.AppendUint16(b, 0)
		b = binary.NativeEndian.AppendUint32(b, uint32(seq))
		return append(append(b, 0, 0, 0, 0), data...)
	}
	enoent := binary.NativeEndian.AppendUint32(nil, uint32(1<<32-int64(unix.ENOENT)))
	for _, tt := range []struct {
		name string
		in   []byte
		seq  uint32
		msg  string
		err  string
	}{
		{"a socket", answer(19, 20, 7, 1, 2, 3), 7, "\x01\x02\x03", ""},
		{"followed by padding", answer(19, 20, 7, 1, 2, 3, 0), 7, "\x01\x02\x03", ""},
		{"none", answer(20, unix.NLMSG_ERROR, 8, enoent...), 8, "", "no such file"},
		{"an error without its number", answer(18, unix.NLMSG_ERROR, 8, 1, 2), 8, "", "type 2, want 20"},
		{"the end of a dump", answer(20, unix.NLMSG_DONE, 8, 0, 0, 0, 0), 8, "", "type 3, want 20"},
		{"empty", nil, 0, "", "answer of 0 bytes"},
		{"cut short", answer(20, 20, 9, 1, 2, 3), 0, "", "19 bytes that says it has 20"},
		{"shorter than its head", answer(15, 20, 9), 0, "", "says it has 15"},
	} {
		seq, msg, err := unwrap(tt.in)
		if seq != tt.seq || string(msg) != tt.msg || tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: got question %d, %q, %v, want %d, %q, an error with %q", tt.name, seq, msg, err, tt.seq, tt.msg, tt.err)
		}
	}
	if _, _, err := unwrap(answer(20, unix.NLMSG_ERROR, 8, enoent...)); !errors.Is(err, unix.ENOENT) {
		t.Errorf("none: got %v, want ENOENT", err)
	}
}

// FuzzParse catches a panic on what another kernel may answer, and a state without a name.
func FuzzParse(f *testing.F) {
	for _, s := range recorded {
		f.Add(unhex(f, s))
	}
	f.Add(make([]byte, 72))
	f.Add(append(make([]byte, 72), 255, 255, 2, 0))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := parse(in)
		if err == nil && (s.State == "" || s.Expires < 0 || s.RTO < 0 || s.Timer == "" && s.Expires != 0) {
			t.Errorf("got %+v, want a state, and a time only with its timer", s)
		}
	})
}

// FuzzUnwrap: an answer is taken out of its header within its own bytes, or it is an error.
func FuzzUnwrap(f *testing.F) {
	for _, kind := range []uint16{nl.SOCK_DIAG_BY_FAMILY, unix.NLMSG_ERROR, unix.NLMSG_DONE} {
		b := make([]byte, headLen+8)
		binary.NativeEndian.PutUint32(b, uint32(len(b)))
		binary.NativeEndian.PutUint16(b[4:], kind)
		f.Add(b)
		f.Add(b[:headLen+2])
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		_, msg, err := unwrap(in)
		if err == nil && len(msg) > len(in)-headLen {
			t.Errorf("got %d bytes out of %d", len(msg), len(in))
		}
	})
}
