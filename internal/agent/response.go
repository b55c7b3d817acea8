package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strconv"
	"strings"
)

// readResponse reads one HTTP/1.1 response to a GET to its end, interim ones (1xx) before it, and returns its status and the bytes of its body
// (RFC 9112 sections 4, 6 and 7). net/http is not used: to link it makes the start of an agent a third dearer, and each connection has an agent.
func readResponse(r io.Reader) (status, body int, err error) {
	in := bufio.NewReader(r)
	text := textproto.NewReader(in)
	for {
		if status, err = readStatus(text); err != nil {
			return 0, 0, err
		}
		header, err := text.ReadMIMEHeader()
		if err != nil {
			return 0, 0, fmt.Errorf("HTTP header: %w", whole(err))
		}
		if status/100 == 1 {
			continue
		}
		n, err := readBody(in, text, status, header)
		return status, n, err
	}
}

func readStatus(text *textproto.Reader) (int, error) {
	line, err := text.ReadLine()
	if err != nil {
		return 0, fmt.Errorf("HTTP status line: %w", whole(err))
	}
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.ParseUint(code, 10, 16)
	if !strings.HasPrefix(version, "HTTP/1.") || len(code) != 3 || err != nil || status < 100 {
		return 0, fmt.Errorf("HTTP status line %q: want HTTP/1.x and a status of three digits", line)
	}
	return int(status), nil
}

// readBody reads what follows the header: nothing, chunks, as many bytes as the header says, or all up to the end of the stream.
func readBody(in *bufio.Reader, text *textproto.Reader, status int, header textproto.MIMEHeader) (int, error) {
	if status == 204 || status == 304 {
		return 0, nil
	}
	coding := header.Values("Transfer-Encoding")
	length := header.Get("Content-Length")
	switch {
	case len(coding) == 1 && strings.EqualFold(strings.TrimSpace(coding[0]), "chunked"):
		return readChunks(in, text)
	case len(coding) > 0:
		return 0, fmt.Errorf("HTTP Transfer-Encoding %q: want chunked, or none", coding)
	case length == "":
		n, err := io.Copy(io.Discard, in)
		return int(n), err
	}
	n, err := strconv.ParseUint(length, 10, 62)
	if err != nil {
		return 0, fmt.Errorf("HTTP Content-Length %q: want a number of bytes", length)
	}
	return discard(in, int64(n))
}

func readChunks(in *bufio.Reader, text *textproto.Reader) (total int, err error) {
	for {
		line, err := text.ReadLine()
		if err != nil {
			return total, fmt.Errorf("HTTP chunk: %w", whole(err))
		}
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseUint(strings.TrimSpace(size), 16, 62)
		if err != nil {
			return total, fmt.Errorf("HTTP chunk of size %q: want a hexadecimal number", size)
		}
		if n == 0 {
			if _, err := text.ReadMIMEHeader(); err != nil { // the trailer
				return total, fmt.Errorf("HTTP trailer: %w", whole(err))
			}
			return total, nil
		}
		got, err := discard(in, int64(n))
		total += got
		if err != nil {
			return total, err
		}
		if line, err = text.ReadLine(); err != nil || line != "" {
			return total, fmt.Errorf("HTTP chunk of %d bytes: want a line end behind it, got %q: %w", n, line, errors.Join(err, io.ErrUnexpectedEOF))
		}
	}
}

// discard reads n bytes.
func discard(in io.Reader, n int64) (int, error) {
	got, err := io.CopyN(io.Discard, in, n)
	if err != nil {
		return int(got), fmt.Errorf("HTTP body: %d of %d bytes: %w", got, n, whole(err))
	}
	return int(got), nil
}

// whole makes an end of stream in the middle of something what it is.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
