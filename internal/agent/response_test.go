package agent

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

// ours and theirs read the same bytes.
func theirs(text string) (status, body int, err error) {
	r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), &http.Request{Method: http.MethodGet})
	if err != nil {
		return 0, 0, err
	}
	defer r.Body.Close()
	n, err := io.Copy(io.Discard, r.Body)
	return r.StatusCode, int(n), err
}

// TestReadResponse compares with net/http: a response that one of the two takes and the other does not, or that has another status or
// another length. It catches a reader that stops before the end, or waits behind it.
func TestReadResponse(t *testing.T) {
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, text := range map[string]string{
		"with a length":           "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"with a length of 0":      "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
		"no reason":               "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx",
		"up to the end":           "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it",
		"no content":              "HTTP/1.1 204 No Content\r\n\r\n",
		"not modified":            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
		"chunks":                  chunked + "5\r\nhello\r\nA;ext=1\r\n0123456789\r\n0\r\n\r\n",
		"chunks and a trailer":    chunked + "1\r\nx\r\n0\r\nDigest: y\r\n\r\n",
		"line ends without CR":    "HTTP/1.1 200 OK\nContent-Length: 2\n\nab",
		"cut in the body":         "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
		"cut in a chunk":          chunked + "5\r\nhel",
		"cut behind a chunk":      chunked + "5\r\nhello",
		"cut in the header":       "HTTP/1.1 200 OK\r\nContent-Le",
		"nothing":                 "",
		"not HTTP":                "220 mail ready\r\n",
		"a status of two digits":  "HTTP/1.1 20 OK\r\n\r\n",
		"a status of letters":     "HTTP/1.1 abc OK\r\n\r\n",
		"a length that is none":   "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
		"a negative length":       "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello",
		"a size that is none":     chunked + "x\r\n",
		"no line end behind it":   chunked + "1\r\nxy\r\n0\r\n\r\n",
		"a header without a name": "HTTP/1.1 200 OK\r\n: x\r\n\r\n",
	} {
		status, body, err := readResponse(strings.NewReader(text))
		wantStatus, wantBody, wantErr := theirs(text)
		if (err != nil) != (wantErr != nil) {
			t.Errorf("%s: got %v, net/http says %v", name, err, wantErr)
			continue
		}
		if err == nil && (status != wantStatus || body != wantBody) {
			t.Errorf("%s: got %d and %d bytes, net/http says %d and %d", name, status, body, wantStatus, wantBody)
		}
	}
}

// TestReadResponseLeaves catches a reader that waits for more than the response: what follows need not come.
func TestReadResponseLeaves(t *testing.T) {
	for name, text := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"chunks":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
		"none":    "HTTP/1.1 204 No Content\r\n\r\n",
		"interim": "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
	} {
		if status, _, err := readResponse(io.MultiReader(bytes.NewReader([]byte(text)), failing{})); err != nil || status < 200 {
			t.Errorf("%s: got %d, %v, want no read behind the end", name, status, err)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }
