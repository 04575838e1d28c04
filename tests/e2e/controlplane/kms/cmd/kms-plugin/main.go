// A KMS v2 plugin (with -v1 one of KMS v1) that does as it is told: which key it has, which it encrypts with, how well it is, how slow. It counts
// the calls of each kind and key. What it is told is one JSON document, put by HTTP to a second Unix socket.
package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"k8s.io/kms/apis/v1beta1"
	"k8s.io/kms/pkg/service"
)

// State is what a test puts. A key's material is any text: two texts are two keys.
type State struct {
	KeyID    string            `json:"keyID"`    // as Status tells it, and Encrypt answers
	Material string            `json:"material"` // name in Materials that Encrypt uses
	Keys     map[string]string `json:"materials"`
	Version  string            `json:"version"`
	Healthz  string            `json:"healthz"`
	// Errors instead of answers, and how long each takes.
	FailStatus  string  `json:"failStatus"`
	FailEncrypt string  `json:"failEncrypt"`
	FailDecrypt string  `json:"failDecrypt"`
	Seconds     float64 `json:"seconds"`
	// How long Decrypt takes besides; with SlowKeyID, of what is under that key ID alone.
	DecryptSeconds float64 `json:"decryptSeconds"`
	SlowKeyID      string  `json:"slowKeyID"`
}

const materialAnnotation = "material.kms.kube-rekey.dev"

type plugin struct {
	mutex  sync.Mutex
	state  State
	counts map[string]int // "encrypt KEYID", "decrypt KEYID", "status"
}

func pause(ctx context.Context, seconds float64) error {
	select {
	case <-time.After(time.Duration(seconds * float64(time.Second))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *plugin) begin(ctx context.Context, what string) (State, error) {
	p.mutex.Lock()
	state := p.state
	p.counts[what]++
	p.mutex.Unlock()
	return state, pause(ctx, state.Seconds)
}

func (p *plugin) Status(ctx context.Context) (*service.StatusResponse, error) {
	state, err := p.begin(ctx, "status")
	if err == nil && state.FailStatus != "" {
		err = errors.New(state.FailStatus)
	}
	if err != nil {
		return nil, err
	}
	return &service.StatusResponse{Version: state.Version, Healthz: state.Healthz, KeyID: state.KeyID}, nil
}

func box(material string) (cipher.AEAD, error) {
	key := sha256.Sum256([]byte(material))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (p *plugin) Encrypt(ctx context.Context, uid string, data []byte) (*service.EncryptResponse, error) {
	p.mutex.Lock()
	id := p.state.KeyID
	p.mutex.Unlock()
	state, err := p.begin(ctx, "encrypt "+id)
	if err == nil && state.FailEncrypt != "" {
		err = errors.New(state.FailEncrypt)
	}
	if err != nil {
		return nil, err
	}
	material, known := state.Keys[state.Material]
	if !known {
		return nil, fmt.Errorf("the key %q is destroyed", state.Material)
	}
	aead, err := box(material)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return &service.EncryptResponse{
		Ciphertext:  append(nonce, aead.Seal(nil, nonce, data, nil)...),
		KeyID:       state.KeyID,
		Annotations: map[string][]byte{materialAnnotation: []byte(state.Material)},
	}, nil
}

func (p *plugin) Decrypt(ctx context.Context, uid string, request *service.DecryptRequest) ([]byte, error) {
	state, err := p.begin(ctx, "decrypt "+request.KeyID)
	if err == nil && (state.SlowKeyID == "" || state.SlowKeyID == request.KeyID) {
		err = pause(ctx, state.DecryptSeconds)
	}
	if err == nil && state.FailDecrypt != "" {
		err = errors.New(state.FailDecrypt)
	}
	if err != nil {
		return nil, err
	}
	name := string(request.Annotations[materialAnnotation])
	material, known := state.Keys[name]
	if !known {
		return nil, fmt.Errorf("the key %q is destroyed", name)
	}
	aead, err := box(material)
	if err != nil {
		return nil, err
	}
	if len(request.Ciphertext) < aead.NonceSize() {
		return nil, errors.New("truncated ciphertext")
	}
	nonce, sealed := request.Ciphertext[:aead.NonceSize()], request.Ciphertext[aead.NonceSize():]
	return aead.Open(nil, nonce, sealed, nil)
}

// The same by KMS v1, which has neither key IDs nor annotations: the name of the material goes first.
type first struct {
	v1beta1.UnimplementedKeyManagementServiceServer
	plugin *plugin
}

func (f first) Version(context.Context, *v1beta1.VersionRequest) (*v1beta1.VersionResponse, error) {
	return &v1beta1.VersionResponse{Version: "v1beta1", RuntimeName: "kms-plugin", RuntimeVersion: "1"}, nil
}

func (f first) Encrypt(ctx context.Context, request *v1beta1.EncryptRequest) (*v1beta1.EncryptResponse, error) {
	answer, err := f.plugin.Encrypt(ctx, "", request.Plain)
	if err != nil {
		return nil, err
	}
	return &v1beta1.EncryptResponse{Cipher: append(append(answer.Annotations[materialAnnotation], 0), answer.Ciphertext...)}, nil
}

func (f first) Decrypt(ctx context.Context, request *v1beta1.DecryptRequest) (*v1beta1.DecryptResponse, error) {
	name, sealed, _ := bytes.Cut(request.Cipher, []byte{0})
	plain, err := f.plugin.Decrypt(ctx, "", &service.DecryptRequest{
		Ciphertext: sealed, Annotations: map[string][]byte{materialAnnotation: name}})
	return &v1beta1.DecryptResponse{Plain: plain}, err
}

func serveFirst(path string, p *plugin) error {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	v1beta1.RegisterKeyManagementServiceServer(server, first{plugin: p})
	return server.Serve(listener)
}

func (p *plugin) control(writer http.ResponseWriter, request *http.Request) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if request.Method == http.MethodPut {
		var state State
		if err := json.NewDecoder(request.Body).Decode(&state); err != nil {
			http.Error(writer, err.Error(), http.StatusBadRequest)
			return
		}
		p.state = state
		return
	}
	_ = json.NewEncoder(writer).Encode(p.counts)
}

func main() {
	listen := flag.String("listen", "", "socket of the plugin: a path, or @name")
	control := flag.String("control", "", "socket that is told what to do")
	v1 := flag.Bool("v1", false, "a plugin of KMS v1")
	flag.Parse()
	p := &plugin{counts: map[string]int{}, state: State{Version: "v2", Healthz: "not told yet", KeyID: "none"}}
	told, err := net.Listen("unix", *control)
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(http.Serve(told, http.HandlerFunc(p.control))) }()
	if *v1 {
		log.Fatal(serveFirst(*listen, p))
	}
	log.Fatal(service.NewGRPCService(*listen, time.Minute, p).ListenAndServe())
}
