package vm

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// Offsets in a bzImage's boot header (Documentation/arch/x86/boot.rst).
const (
	bootSetupSects    = 0x1f1 // sectors of the real-mode code, without the first
	bootMagic         = 0x202
	bootProtocol      = 0x206
	bootKernelVersion = 0x20e // where the release's text is, from 0x200 on
	bootPayloadOffset = 0x248 // from the protected-mode code on; protocol 2.08 and later
	bootPayloadLength = 0x24c
)

var errImage = errors.New("want a bzImage of Linux on x86-64")

var elfMagic = []byte(elf.ELFMAG)

// isImage reports whether b begins as a bzImage does.
func isImage(b []byte) bool {
	return len(b) >= 0x260 && string(b[bootMagic:bootMagic+4]) == "HdrS" && binary.LittleEndian.Uint16(b[bootProtocol:]) >= 0x208
}

// imageRelease is the release that a bzImage or an ELF file says it is of. Empty: it does not.
func imageRelease(b []byte) string {
	if bytes.HasPrefix(b, elfMagic) {
		return bannerRelease(b)
	}
	if !isImage(b) {
		return ""
	}
	at := 0x200 + int(binary.LittleEndian.Uint16(b[bootKernelVersion:]))
	if at >= len(b) {
		return ""
	}
	text, _, _ := bytes.Cut(b[at:min(at+256, len(b))], []byte{0})
	release, _, _ := strings.Cut(string(text), " ")
	return release
}

// unpackImage returns the ELF vmlinux out of a bzImage. It is booted instead of the bzImage: unpacking that would be the guest's work, and translated
// code is slow at it. An ELF file is returned as it is.
func unpackImage(b []byte) (vmlinux []byte, err error) {
	if bytes.HasPrefix(b, elfMagic) {
		return b, nil
	}
	if !isImage(b) {
		return nil, errImage
	}
	sects := int64(b[bootSetupSects])
	if sects == 0 {
		sects = 4
	}
	from := (sects+1)*512 + int64(binary.LittleEndian.Uint32(b[bootPayloadOffset:]))
	size := int64(binary.LittleEndian.Uint32(b[bootPayloadLength:]))
	if size < 8 || from+size > int64(len(b)) {
		return nil, fmt.Errorf("payload at %d, %d bytes, in a file of %d: %w", from, size, len(b), errImage)
	}
	vmlinux, err = unpackPayload(b[from : from+size])
	if err != nil {
		return nil, fmt.Errorf("unpack the kernel: %w", err)
	}
	if !bytes.HasPrefix(vmlinux, elfMagic) {
		return nil, fmt.Errorf("the payload is not an ELF file: %w", errImage)
	}
	return vmlinux, nil
}

// mostKernel bounds what a payload may claim to be.
const mostKernel = 512 << 20

// unpackPayload unpacks by the format's magic. The kernel's build appends the unpacked size, 4 bytes in little endian (size_append in
// scripts/Makefile.lib), but for gzip, whose own trailer has it.
func unpackPayload(p []byte) ([]byte, error) {
	size := int64(binary.LittleEndian.Uint32(p[len(p)-4:]))
	if size > mostKernel {
		return nil, fmt.Errorf("%d bytes when unpacked: want at most %d", size, mostKernel)
	}
	var r io.Reader
	var err error
	in := bytes.NewReader(p)
	switch {
	case bytes.HasPrefix(p, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		var z *zstd.Decoder
		// The kernel is packed with a window of up to 128 MiB (zstd --ultra).
		if z, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(1<<30)); err == nil {
			defer z.Close()
			r = z
		}
	case bytes.HasPrefix(p, []byte{0x02, 0x21, 0x4c, 0x18}):
		r = lz4.NewReader(in)
	case bytes.HasPrefix(p, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		r, err = xz.NewReader(in)
	case bytes.HasPrefix(p, []byte{0x1f, 0x8b}):
		r, err = gzip.NewReader(in)
	case bytes.HasPrefix(p, []byte{0x5d, 0, 0}):
		r, err = lzma.NewReader(in)
	default:
		return nil, fmt.Errorf("packed with something unknown that begins with % x: want zstd, lz4, xz, gzip or lzma", p[:6])
	}
	if err != nil {
		return nil, err
	}
	out := make([]byte, size)
	if n, err := io.ReadFull(r, out); err != nil {
		return nil, fmt.Errorf("%d of %d bytes: %w", n, size, err)
	}
	return out, nil
}

// unpackModule unpacks a module by its name's end and cuts the signature off: the guest has nobody to keep out, and checking it is
// slow in translated code.
func unpackModule(name string, b []byte) ([]byte, error) {
	var err error
	var r io.Reader
	switch in := bytes.NewReader(b); {
	case strings.HasSuffix(name, ".ko"):
		return withoutSignature(b), nil
	case strings.HasSuffix(name, ".xz"):
		r, err = xz.NewReader(in)
	case strings.HasSuffix(name, ".gz"):
		r, err = gzip.NewReader(in)
	case strings.HasSuffix(name, ".zst"):
		var z *zstd.Decoder
		if z, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1)); err == nil {
			defer z.Close()
			r = z
		}
	default:
		err = errors.New("want .ko, .ko.xz, .ko.gz or .ko.zst")
	}
	if err == nil {
		b, err = io.ReadAll(io.LimitReader(r, mostKernel))
	}
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", name, err)
	}
	return withoutSignature(b), nil
}

// signatureEnd is MODULE_SIG_STRING (include/linux/module_signature.h).
const signatureEnd = "~Module signature appended~\n"

func withoutSignature(b []byte) []byte {
	body, ok := bytes.CutSuffix(b, []byte(signatureEnd))
	if !ok || len(body) < 12 {
		return b
	}
	// struct module_signature: 8 bytes of kinds and lengths, and sig_len in big endian.
	sig := int64(binary.BigEndian.Uint32(body[len(body)-4:]))
	if sig > int64(len(body)-12) {
		return b
	}
	return body[:int64(len(body))-12-sig]
}
