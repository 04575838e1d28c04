// A KMS v2 plugin that behaves as aws-encryption-provider does (pkg/plugin/plugin_v2.go, read at 6d4f71e of 2026-06-16), before
// an emulator of AWS KMS: key_id is the --key argument as it was given, the version v2beta1, a ciphertext begins with "1", no
// annotations, a Decrypt names no key, and Status encrypts and decrypts "foo" unless a call of its own did so in the last 30 s.
// It counts the calls that AWS would bill, apart by who caused them, and tells them by HTTP on a second Unix socket.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/kms/pkg/service"
)

const (
	storageVersion = "1"
	healthPeriod   = 30 * time.Second
	// The emulator looks at region and service alone.
	authorization = "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/kms/aws4_request, SignedHeaders=host, Signature=none"
)

type plugin struct {
	key, endpoint string
	mutex         sync.Mutex
	counts        map[string]int // "encrypt KEY", "decrypt KEY", "health encrypt KEY", "health decrypt KEY", "opening decrypt KEY", "status"
	checked       time.Time
	healthError   error
}

func (p *plugin) count(what string) {
	p.mutex.Lock()
	p.counts[what]++
	p.mutex.Unlock()
}

// One call of the AWS API. An error carries AWS's own code first, as the SDK's do.
func (p *plugin) call(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("X-Amz-Target", "TrentService."+operation)
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("Authorization", authorization)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		var said struct {
			Type    string `json:"__type"`
			Message string `json:"message"`
		}
		_ = json.NewDecoder(response.Body).Decode(&said)
		return fmt.Errorf("operation error KMS: %s, https response error StatusCode: %d, %s: %s", operation,
			response.StatusCode, said.Type, said.Message)
	}
	return json.NewDecoder(response.Body).Decode(out)
}

// The emulator encrypts and decrypts whatever a key's state is; AWS does not.
func (p *plugin) usable(ctx context.Context, operation, key string) error {
	var described struct {
		KeyMetadata struct{ KeyState string }
	}
	err := p.call(ctx, "DescribeKey", map[string]string{"KeyId": key}, &described)
	if err != nil {
		return err
	}
	switch described.KeyMetadata.KeyState {
	case "Enabled":
		return nil
	case "Disabled":
		return fmt.Errorf("operation error KMS: %s, DisabledException: %s is disabled.", operation, key)
	default:
		return fmt.Errorf("operation error KMS: %s, KMSInvalidStateException: %s is pending deletion.", operation, key)
	}
}

func (p *plugin) encrypt(ctx context.Context, cause string, data []byte) ([]byte, error) {
	p.count(cause + "encrypt " + p.key)
	if err := p.usable(ctx, "Encrypt", p.key); err != nil {
		return nil, err
	}
	var out struct{ CiphertextBlob []byte }
	in := struct {
		KeyId     string
		Plaintext []byte
	}{p.key, data}
	err := p.call(ctx, "Encrypt", in, &out)
	return append([]byte(storageVersion), out.CiphertextBlob...), err
}

func (p *plugin) decrypt(ctx context.Context, cause string, data []byte) ([]byte, error) {
	if len(data) == 0 {
		return nil, errors.New("invalid empty ciphertext")
	}
	if string(data[:1]) != storageVersion {
		return nil, fmt.Errorf("version %s in Ciphertext doesn't match kmsplugin", data[:1])
	}
	var out struct {
		Plaintext []byte
		KeyId     string
	}
	err := p.call(ctx, "Decrypt", map[string][]byte{"CiphertextBlob": data[1:]}, &out)
	p.count(cause + "decrypt " + out.KeyId)
	if err == nil {
		err = p.usable(ctx, "Decrypt", out.KeyId)
	}
	return out.Plaintext, err
}

func (p *plugin) record(err error) {
	p.mutex.Lock()
	p.checked, p.healthError = time.Now(), err
	p.mutex.Unlock()
}

func (p *plugin) health() error {
	p.mutex.Lock()
	recent, last := time.Since(p.checked) < healthPeriod, p.healthError
	p.mutex.Unlock()
	if recent {
		return last
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	sealed, err := p.encrypt(ctx, "health ", []byte("foo"))
	if err == nil {
		_, err = p.decrypt(ctx, "health ", sealed)
	}
	p.record(err)
	return err
}

func (p *plugin) Status(context.Context) (*service.StatusResponse, error) {
	p.count("status")
	status := "ok"
	if p.health() != nil {
		status = "err"
	}
	return &service.StatusResponse{Version: "v2beta1", Healthz: status, KeyID: p.key}, nil
}

func (p *plugin) Encrypt(ctx context.Context, uid string, data []byte) (*service.EncryptResponse, error) {
	sealed, err := p.encrypt(ctx, "", data)
	if err != nil {
		p.record(err)
		return nil, fmt.Errorf("failed to encrypt %w", err)
	}
	return &service.EncryptResponse{Ciphertext: sealed, KeyID: p.key}, nil
}

func (p *plugin) Decrypt(ctx context.Context, uid string, request *service.DecryptRequest) ([]byte, error) {
	cause := ""
	if strings.HasPrefix(uid, "kube-rekey-") {
		cause = "opening "
	}
	plain, err := p.decrypt(ctx, cause, request.Ciphertext)
	if err != nil {
		p.record(err)
		return nil, fmt.Errorf("failed to decrypt %w", err)
	}
	return plain, nil
}

func main() {
	listen := flag.String("listen", "", "socket of the plugin")
	key := flag.String("key", "", "AWS KMS key: ID, ARN or alias")
	endpoint := flag.String("kms-endpoint", "", "URL of AWS KMS")
	control := flag.String("control", "", "socket that tells the counts")
	flag.Parse()
	p := &plugin{key: *key, endpoint: *endpoint, counts: map[string]int{}}
	told, err := net.Listen("unix", *control)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		log.Fatal(http.Serve(told, http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
			p.mutex.Lock()
			defer p.mutex.Unlock()
			_ = json.NewEncoder(writer).Encode(p.counts)
		})))
	}()
	log.Fatal(service.NewGRPCService(*listen, time.Minute, p).ListenAndServe())
}
