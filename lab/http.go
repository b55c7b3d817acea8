package lab

import (
	"bytes"
	"fmt"
	"net/http"

	"github.com/tcplab/tcplab/internal/agent"
)

// RequestSize is the length in bytes of the request that Client.Get sends for a path. A path that no URL can have is an error.
func RequestSize(path string) (int, error) {
	text, err := request(path)
	return len(text), err
}

// request is the GET for a path ("/"), byte for byte the same each time.
func request(path string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, "http://server"+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", agent.Name)
	var text bytes.Buffer
	err = req.Write(&text)
	return text.Bytes(), err
}

// AnswerSize is the length in bytes of an HTTP server's answer to it, in one segment. last: the server closes after it (AfterAnswer).
func AnswerSize(path string, last bool) int { return len(hello(path, last)) }

// hello is the answer to a GET. Without a date: two runs are equal byte for byte.
func hello(path string, last bool) []byte {
	body := fmt.Sprintf("tcplab: you asked for %s\n", path)
	connection := "keep-alive"
	if last {
		connection = "close"
	}
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s", len(body), connection, body)
}
