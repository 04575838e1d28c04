package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// neighbour is another client of the server: it reads and writes a secret of its own, so many times a second each, and
// says how long that took in ms.
func neighbour(api *server, namespace string, rate int, seconds float64) {
	const name = "neighbour"
	body := []byte(fmt.Sprintf(`{"metadata":{"name":"%s"},"data":{"value":"AAAA"}}`, name))
	path := "/api/v1/namespaces/" + namespace + "/secrets"
	took := map[string][]time.Duration{"GET": nil, "PUT": nil}
	var group sync.WaitGroup
	var lock sync.Mutex
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	for method := range took {
		group.Add(1)
		go func() {
			defer group.Done()
			tick := time.NewTicker(time.Second / time.Duration(rate))
			defer tick.Stop()
			for n := 0; time.Now().Before(end); n++ {
				<-tick.C
				sent := body
				if method == "GET" {
					sent = nil
				} else { // something changes each time, or nothing would be written
					sent = bytes.Replace(body, []byte("AAAA"), []byte(fmt.Sprintf("%04d", n%10000)), 1)
				}
				start := time.Now()
				api.call(method, path+"/"+name, "application/json", "application/json", bytes.NewReader(sent))
				lock.Lock()
				took[method] = append(took[method], time.Since(start))
				lock.Unlock()
			}
		}()
	}
	group.Wait()
	told := map[string]float64{}
	for method, times := range took {
		slices.Sort(times)
		told[method] = float64(times[len(times)*99/100].Microseconds()) / 1000
	}
	check(json.NewEncoder(os.Stdout).Encode(told))
}
