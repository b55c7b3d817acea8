package agent

import (
	"bytes"
	"net/http"
)

// GET is the request for a path ("/") as Get sends it, byte for byte the same each time, and the same for net/http, which reads its answer.
func GET(path string) ([]byte, *http.Request, error) {
	req, err := http.NewRequest(http.MethodGet, "http://server"+path, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("User-Agent", Name)
	var text bytes.Buffer
	if err := req.Write(&text); err != nil {
		return nil, nil, err
	}
	return text.Bytes(), req, nil
}
