package vm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

var elfFile = append([]byte("\x7fELF"), bytes.Repeat([]byte("kernel "), 5000)...)

func packWith(t *testing.T, format string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch format {
	case "zstd":
		w, err = zstd.NewWriter(&b)
	case "xz":
		w, err = xz.NewWriter(&b)
	case "gzip":
		w = gzip.NewWriter(&b)
	case "lz4":
		z := lz4.NewWriter(&b)
		err = z.Apply(lz4.LegacyOption(true))
		w = z
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if format == "gzip" {
		return b.Bytes()
	}
	return binary.LittleEndian.AppendUint32(b.Bytes(), uint32(len(content)))
}

// bzImage makes a boot header with a payload behind it.
func bzImage(payload []byte) []byte {
	const sects, offset, text = 3, 64, 0x200
	b := make([]byte, (sects+1)*512+offset)
	b[bootSetupSects] = sects
	copy(b[bootMagic:], "HdrS")
	binary.LittleEndian.PutUint16(b[bootProtocol:], 0x20f)
	binary.LittleEndian.PutUint16(b[bootKernelVersion:], text)
	copy(b[0x200+text:], "6.1.0-56-cloud-amd64 (somebody) #1 SMP\x00")
	binary.LittleEndian.PutUint32(b[bootPayloadOffset:], offset)
	binary.LittleEndian.PutUint32(b[bootPayloadLength:], uint32(len(payload)))
	return append(b, payload...)
}

// The kernel comes out of every packing that a distribution uses, with its release.
func TestUnpackImage(t *testing.T) {
	for _, format := range []string{"zstd", "xz", "gzip", "lz4"} {
		image := bzImage(packWith(t, format, elfFile))
		got, err := unpackImage(image)
		if release := imageRelease(image); err != nil || !bytes.Equal(got, elfFile) || release != "6.1.0-56-cloud-amd64" {
			t.Errorf("%s: got %d bytes, release %q, %v, want %d bytes", format, len(got), release, err, len(elfFile))
		}
	}
	if got, err := unpackImage(elfFile); err != nil || !bytes.Equal(got, elfFile) {
		t.Errorf("an ELF file: got %d bytes, %v", len(got), err)
	}
}

// What is no kernel is an error, not a machine that hangs.
func TestUnpackNoImage(t *testing.T) {
	whole := bzImage(packWith(t, "zstd", elfFile))
	huge := bytes.Clone(whole)
	copy(huge[len(huge)-4:], "\xff\xff\xff\xff")
	for name, b := range map[string][]byte{
		"nothing": nil, "text": bytes.Repeat([]byte("x"), 4096), "cut": whole[:len(whole)-100], "says that it is huge": huge,
		"unknown packing": bzImage(bytes.Repeat([]byte("?"), 100)),
	} {
		if _, err := unpackImage(b); err == nil {
			t.Errorf("%s: got nil, want an error", name)
		}
	}
	if _, err := unpackImage(nil); !errors.Is(err, errImage) {
		t.Errorf("got %v, want errImage", err)
	}
}

// FuzzUnpackImage: a file that somebody names is never a panic.
func FuzzUnpackImage(f *testing.F) {
	f.Add(bzImage([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0}))
	f.Add(bzImage([]byte{0x02, 0x21, 0x4c, 0x18, 1, 0, 0, 0, 0, 9, 0, 0, 0}))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if len(b) > 4 && binary.LittleEndian.Uint32(b[len(b)-4:]) > 1<<20 {
			return // it would be given that much memory
		}
		_, _ = unpackImage(b)
		_ = imageRelease(b)
		_ = bootable(b)
		_ = embeddedConfig(b)
	})
}

// A signature is cut off, and nothing else is.
func TestWithoutSignature(t *testing.T) {
	body := []byte("\x7fELF module")
	info := append(make([]byte, 8), 0, 0, 0, 5)
	signed := slices.Concat(body, []byte("12345"), info, []byte(signatureEnd))
	if got := withoutSignature(signed); !bytes.Equal(got, body) {
		t.Errorf("got %q, want %q", got, body)
	}
	lies := slices.Concat(body, append(make([]byte, 8), 0xff, 0, 0, 0), []byte(signatureEnd))
	for _, b := range [][]byte{body, nil, []byte(signatureEnd), lies} {
		if got := withoutSignature(b); !bytes.Equal(got, b) {
			t.Errorf("got %q, want %q as it is", got, b)
		}
	}
	if _, err := unpackModule("a.ko.zip", nil); err == nil || !strings.Contains(err.Error(), "a.ko.zip") {
		t.Errorf("got %v, want an error that names the module", err)
	}
}
