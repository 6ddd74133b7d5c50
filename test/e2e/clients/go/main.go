package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func call(method, url string, body io.Reader) io.ReadCloser {
	request, err := http.NewRequest(method, url, body)
	if err != nil {
		panic(err)
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("API_KEY"))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	return response.Body
}

func main() {
	base := os.Args[1]
	io.Copy(os.Stdout, call("GET", base+"/v1/models", nil))
	io.Copy(os.Stdout, call("POST", base+"/v1/echo", strings.NewReader(strings.Repeat("x", 1_000_000))))
	lines := bufio.NewScanner(call("GET", base+"/v1/stream", nil))
	for lines.Scan() {
		fmt.Println(lines.Text())
	}
}
