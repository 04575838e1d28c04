package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const batch = 100 // etcd takes 128 in a transaction

// fill puts count values, of the form that aescbc has and of 32 bytes to size, under so many keys in turns.
func fill(client *clientv3.Client, count, paths, size, concurrency int) {
	noise := make([]byte, 2*size)
	_, err := rand.Read(noise)
	check(err)
	start, used := time.Now(), cpu()
	each(count/batch, concurrency, func(i int) {
		puts := make([]clientv3.Op, 0, batch)
		for n := i * batch; n < (i+1)*batch; n++ {
			from := n * 7919 % size
			len := (2 + n*104729%(size/16-1)) * 16
			key := fmt.Sprintf("/registry/secrets/bench-%d/bench-%06d", n%20, n%paths)
			puts = append(puts, clientv3.OpPut(key, "k8s:enc:aescbc:v1:key1:"+string(noise[from:from+len])))
		}
		_, err := client.Txn(context.Background()).Then(puts...).Commit()
		check(err)
	})
	report(count, time.Since(start), cpu()-used)
}

func snapshot(client *clientv3.Client, path string) {
	start, used := time.Now(), cpu()
	from, err := client.Snapshot(context.Background())
	check(err)
	defer from.Close()
	to, err := os.Create(path)
	check(err)
	size, err := io.Copy(to, from)
	check(err)
	check(to.Sync()) // else its pages cannot be taken out of memory
	check(to.Close())
	report(int(size), time.Since(start), cpu()-used)
}
