/* Made by trust_key_vectors.py: test keys of no other use. */
#pragma once

static const struct {
	const char *name, *fingerprint, *text;
} trust_forms[] = {
	{"rsa pkcs8", "512bbdbee997",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQDtYSqhpOaci3KH\n"
	 "4QenSPUXME7E4naDRu4iQwt3vHnSiD5HvkBkLRFFP0ZWqEy7UI9i1mlXdAQ51Qoa\n"
	 "Kd96lFGKLsxKfoeVdG7FFTIwpCUi5WXr7zoL1QwwiTC8ysoXlXmyBdSLN5Bj3tGa\n"
	 "cVxfTjWAumiIIUn+siyHVy5Eggaqr1pP1Ezg1iDhDjoWszuMfFopP6Yc4bKgCJW+\n"
	 "LWKy27CUxfxpPp0rJrj+VVSOAxTzff3/24pbPLFq69JXU5VQodSoVcDcUj6UF7SL\n"
	 "fVDJh2/8Ra5Epmv/JmAM2YKmwllOm33mqtBcuV6wdTob+XUu64MtGLwhhq/UVMWL\n"
	 "BODSgk7NAgMBAAECggEAYYnoi40HmVGPWRf1Hh7TXpjh9PKdAeo2VWu5HZUbdY+4\n"
	 "D6C0MrV2AD80tszm4p0Cnfk+RcoNJnpMcV29T0/8hUwfc4i0S4wRK/g+rE/2VnVu\n"
	 "QNkGv+/l11e36AtnqPMpkyXkJORK906KT+y+qQao42E1LKKJFhe+RkpjX5ESDjW+\n"
	 "qsizve0UkBYcip06zmsp3Dd/PhDJs1Ql+6QV9YIqOEYCWObLfjUhPiLg0hBYtlSk\n"
	 "hKPcle8Ge7dVYXi9cBt7ySp1o2qMkPz58fiwro3XlHeCtQC7kTDwmMYU3IkUqpsF\n"
	 "PxcujJ+UxfDEbbrs+2oOkWfNVrcF6f5DD1oNKHo1nQKBgQD/5XL4aDrbTfrKsAPF\n"
	 "+p1AOH9i+HgDmxnsAiJdMambhYtIDCYwMmg586DzkntqUW6gNjQUEdu30cRs3qAH\n"
	 "zTqbuMvJxmBk6FuUntTo42jwjKvNhKN6Igp+3GISuomVEqdz17IwsloaW4sDEJP6\n"
	 "Z4LD8LArRF7fwz3KvQitE859owKBgQDtecvTeMKkmYY/muqJvISRh0EUiT9t+Y3w\n"
	 "7jojsQzRxyiUTJTQcBxvXPQZ5zQY4fzb0mpfC5S0jh5dQn6JN8LKMrMrCjFkSgqG\n"
	 "eKnJn4m9NzLCbdLkw7ZXy33lQ8403EYGSvjWFRwSQ/9ro57MAjJmDSEUXyJZnakQ\n"
	 "thNHbYXozwKBgDZyI1wnER7IIKwvdx4QjJS1cKUmKKLbxVApxBYAEw48A754l0d5\n"
	 "8iMiawRoDko4uUjtP3dltVIPF7PySipeyDGJyBJOWwQdTB77DGHgwNstkwBPUFkU\n"
	 "FReY3GUPu2Y0adyD8C3cRL+G6rTkOhf1HiWCeHk8OtNxPxx7y/THWg/xAoGAJRGc\n"
	 "BXiWOYdVc1xFPBbXQrgwKnp6EjqgM3mcTbH3ZE+IQA3sNNUrOx7xY5G5iiDMjau8\n"
	 "uvVd0wlUKA6XHeg8Wb+sRA2lRBhiqDbxme1zXLvfCoaGIvuB3RaAomcBKzMvIxBU\n"
	 "42YMKbW/ixfRU9sL7u4hucJX5FE98MPbIo0wF/UCgYBeNMODAj8W6Bg1CCsJhgTw\n"
	 "IDXN2+CoGxD37oZgJqrctYeB12TaXn2qtiro7hbpc9EoUhnI6i9JnQVfJJJhfWF6\n"
	 "xhV5oM0asAP8PvESaGnGVmu8xW0YELGmCfD/NDbOquvEzlhxV30ZRRnmjVbSj4+k\n"
	 "uEfXHbLqgTMz7iBnGYRyPg==\n"
	 "-----END PRIVATE KEY-----\n"},
	{"rsa behind a comment", "512bbdbee997",
	 "# made by hand\n"
	 "for nobody\n"
	 "\n"
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQDtYSqhpOaci3KH\n"
	 "4QenSPUXME7E4naDRu4iQwt3vHnSiD5HvkBkLRFFP0ZWqEy7UI9i1mlXdAQ51Qoa\n"
	 "Kd96lFGKLsxKfoeVdG7FFTIwpCUi5WXr7zoL1QwwiTC8ysoXlXmyBdSLN5Bj3tGa\n"
	 "cVxfTjWAumiIIUn+siyHVy5Eggaqr1pP1Ezg1iDhDjoWszuMfFopP6Yc4bKgCJW+\n"
	 "LWKy27CUxfxpPp0rJrj+VVSOAxTzff3/24pbPLFq69JXU5VQodSoVcDcUj6UF7SL\n"
	 "fVDJh2/8Ra5Epmv/JmAM2YKmwllOm33mqtBcuV6wdTob+XUu64MtGLwhhq/UVMWL\n"
	 "BODSgk7NAgMBAAECggEAYYnoi40HmVGPWRf1Hh7TXpjh9PKdAeo2VWu5HZUbdY+4\n"
	 "D6C0MrV2AD80tszm4p0Cnfk+RcoNJnpMcV29T0/8hUwfc4i0S4wRK/g+rE/2VnVu\n"
	 "QNkGv+/l11e36AtnqPMpkyXkJORK906KT+y+qQao42E1LKKJFhe+RkpjX5ESDjW+\n"
	 "qsizve0UkBYcip06zmsp3Dd/PhDJs1Ql+6QV9YIqOEYCWObLfjUhPiLg0hBYtlSk\n"
	 "hKPcle8Ge7dVYXi9cBt7ySp1o2qMkPz58fiwro3XlHeCtQC7kTDwmMYU3IkUqpsF\n"
	 "PxcujJ+UxfDEbbrs+2oOkWfNVrcF6f5DD1oNKHo1nQKBgQD/5XL4aDrbTfrKsAPF\n"
	 "+p1AOH9i+HgDmxnsAiJdMambhYtIDCYwMmg586DzkntqUW6gNjQUEdu30cRs3qAH\n"
	 "zTqbuMvJxmBk6FuUntTo42jwjKvNhKN6Igp+3GISuomVEqdz17IwsloaW4sDEJP6\n"
	 "Z4LD8LArRF7fwz3KvQitE859owKBgQDtecvTeMKkmYY/muqJvISRh0EUiT9t+Y3w\n"
	 "7jojsQzRxyiUTJTQcBxvXPQZ5zQY4fzb0mpfC5S0jh5dQn6JN8LKMrMrCjFkSgqG\n"
	 "eKnJn4m9NzLCbdLkw7ZXy33lQ8403EYGSvjWFRwSQ/9ro57MAjJmDSEUXyJZnakQ\n"
	 "thNHbYXozwKBgDZyI1wnER7IIKwvdx4QjJS1cKUmKKLbxVApxBYAEw48A754l0d5\n"
	 "8iMiawRoDko4uUjtP3dltVIPF7PySipeyDGJyBJOWwQdTB77DGHgwNstkwBPUFkU\n"
	 "FReY3GUPu2Y0adyD8C3cRL+G6rTkOhf1HiWCeHk8OtNxPxx7y/THWg/xAoGAJRGc\n"
	 "BXiWOYdVc1xFPBbXQrgwKnp6EjqgM3mcTbH3ZE+IQA3sNNUrOx7xY5G5iiDMjau8\n"
	 "uvVd0wlUKA6XHeg8Wb+sRA2lRBhiqDbxme1zXLvfCoaGIvuB3RaAomcBKzMvIxBU\n"
	 "42YMKbW/ixfRU9sL7u4hucJX5FE98MPbIo0wF/UCgYBeNMODAj8W6Bg1CCsJhgTw\n"
	 "IDXN2+CoGxD37oZgJqrctYeB12TaXn2qtiro7hbpc9EoUhnI6i9JnQVfJJJhfWF6\n"
	 "xhV5oM0asAP8PvESaGnGVmu8xW0YELGmCfD/NDbOquvEzlhxV30ZRRnmjVbSj4+k\n"
	 "uEfXHbLqgTMz7iBnGYRyPg==\n"
	 "-----END PRIVATE KEY-----\n"},
	{"rsa traditional", "512bbdbee997",
	 "-----BEGIN RSA PRIVATE KEY-----\n"
	 "MIIEogIBAAKCAQEA7WEqoaTmnItyh+EHp0j1FzBOxOJ2g0buIkMLd7x50og+R75A\n"
	 "ZC0RRT9GVqhMu1CPYtZpV3QEOdUKGinfepRRii7MSn6HlXRuxRUyMKQlIuVl6+86\n"
	 "C9UMMIkwvMrKF5V5sgXUizeQY97RmnFcX041gLpoiCFJ/rIsh1cuRIIGqq9aT9RM\n"
	 "4NYg4Q46FrM7jHxaKT+mHOGyoAiVvi1istuwlMX8aT6dKya4/lVUjgMU8339/9uK\n"
	 "WzyxauvSV1OVUKHUqFXA3FI+lBe0i31QyYdv/EWuRKZr/yZgDNmCpsJZTpt95qrQ\n"
	 "XLlesHU6G/l1LuuDLRi8IYav1FTFiwTg0oJOzQIDAQABAoIBAGGJ6IuNB5lRj1kX\n"
	 "9R4e016Y4fTynQHqNlVruR2VG3WPuA+gtDK1dgA/NLbM5uKdAp35PkXKDSZ6THFd\n"
	 "vU9P/IVMH3OItEuMESv4PqxP9lZ1bkDZBr/v5ddXt+gLZ6jzKZMl5CTkSvdOik/s\n"
	 "vqkGqONhNSyiiRYXvkZKY1+REg41vqrIs73tFJAWHIqdOs5rKdw3fz4QybNUJfuk\n"
	 "FfWCKjhGAljmy341IT4i4NIQWLZUpISj3JXvBnu3VWF4vXAbe8kqdaNqjJD8+fH4\n"
	 "sK6N15R3grUAu5Ew8JjGFNyJFKqbBT8XLoyflMXwxG267PtqDpFnzVa3Ben+Qw9a\n"
	 "DSh6NZ0CgYEA/+Vy+Gg62036yrADxfqdQDh/Yvh4A5sZ7AIiXTGpm4WLSAwmMDJo\n"
	 "OfOg85J7alFuoDY0FBHbt9HEbN6gB806m7jLycZgZOhblJ7U6ONo8IyrzYSjeiIK\n"
	 "ftxiErqJlRKnc9eyMLJaGluLAxCT+meCw/CwK0Re38M9yr0IrRPOfaMCgYEA7XnL\n"
	 "03jCpJmGP5rqibyEkYdBFIk/bfmN8O46I7EM0ccolEyU0HAcb1z0Gec0GOH829Jq\n"
	 "XwuUtI4eXUJ+iTfCyjKzKwoxZEoKhnipyZ+JvTcywm3S5MO2V8t95UPONNxGBkr4\n"
	 "1hUcEkP/a6OezAIyZg0hFF8iWZ2pELYTR22F6M8CgYA2ciNcJxEeyCCsL3ceEIyU\n"
	 "tXClJiii28VQKcQWABMOPAO+eJdHefIjImsEaA5KOLlI7T93ZbVSDxez8koqXsgx\n"
	 "icgSTlsEHUwe+wxh4MDbLZMAT1BZFBUXmNxlD7tmNGncg/At3ES/huq05DoX9R4l\n"
	 "gnh5PDrTcT8ce8v0x1oP8QKBgCURnAV4ljmHVXNcRTwW10K4MCp6ehI6oDN5nE2x\n"
	 "92RPiEAN7DTVKzse8WORuYogzI2rvLr1XdMJVCgOlx3oPFm/rEQNpUQYYqg28Znt\n"
	 "c1y73wqGhiL7gd0WgKJnASszLyMQVONmDCm1v4sX0VPbC+7uIbnCV+RRPfDD2yKN\n"
	 "MBf1AoGAXjTDgwI/FugYNQgrCYYE8CA1zdvgqBsQ9+6GYCaq3LWHgddk2l59qrYq\n"
	 "6O4W6XPRKFIZyOovSZ0FXySSYX1hesYVeaDNGrAD/D7xEmhpxlZrvMVtGBCxpgnw\n"
	 "/zQ2zqrrxM5YcVd9GUUZ5o1W0o+PpLhH1x2y6oEzM+4gZxmEcj4=\n"
	 "-----END RSA PRIVATE KEY-----\n"},
	{"rsa beside its public half", "512bbdbee997",
	 "-----BEGIN PUBLIC KEY-----\n"
	 "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA7WEqoaTmnItyh+EHp0j1\n"
	 "FzBOxOJ2g0buIkMLd7x50og+R75AZC0RRT9GVqhMu1CPYtZpV3QEOdUKGinfepRR\n"
	 "ii7MSn6HlXRuxRUyMKQlIuVl6+86C9UMMIkwvMrKF5V5sgXUizeQY97RmnFcX041\n"
	 "gLpoiCFJ/rIsh1cuRIIGqq9aT9RM4NYg4Q46FrM7jHxaKT+mHOGyoAiVvi1istuw\n"
	 "lMX8aT6dKya4/lVUjgMU8339/9uKWzyxauvSV1OVUKHUqFXA3FI+lBe0i31QyYdv\n"
	 "/EWuRKZr/yZgDNmCpsJZTpt95qrQXLlesHU6G/l1LuuDLRi8IYav1FTFiwTg0oJO\n"
	 "zQIDAQAB\n"
	 "-----END PUBLIC KEY-----\n"
	 "-----BEGIN RSA PRIVATE KEY-----\n"
	 "MIIEogIBAAKCAQEA7WEqoaTmnItyh+EHp0j1FzBOxOJ2g0buIkMLd7x50og+R75A\n"
	 "ZC0RRT9GVqhMu1CPYtZpV3QEOdUKGinfepRRii7MSn6HlXRuxRUyMKQlIuVl6+86\n"
	 "C9UMMIkwvMrKF5V5sgXUizeQY97RmnFcX041gLpoiCFJ/rIsh1cuRIIGqq9aT9RM\n"
	 "4NYg4Q46FrM7jHxaKT+mHOGyoAiVvi1istuwlMX8aT6dKya4/lVUjgMU8339/9uK\n"
	 "WzyxauvSV1OVUKHUqFXA3FI+lBe0i31QyYdv/EWuRKZr/yZgDNmCpsJZTpt95qrQ\n"
	 "XLlesHU6G/l1LuuDLRi8IYav1FTFiwTg0oJOzQIDAQABAoIBAGGJ6IuNB5lRj1kX\n"
	 "9R4e016Y4fTynQHqNlVruR2VG3WPuA+gtDK1dgA/NLbM5uKdAp35PkXKDSZ6THFd\n"
	 "vU9P/IVMH3OItEuMESv4PqxP9lZ1bkDZBr/v5ddXt+gLZ6jzKZMl5CTkSvdOik/s\n"
	 "vqkGqONhNSyiiRYXvkZKY1+REg41vqrIs73tFJAWHIqdOs5rKdw3fz4QybNUJfuk\n"
	 "FfWCKjhGAljmy341IT4i4NIQWLZUpISj3JXvBnu3VWF4vXAbe8kqdaNqjJD8+fH4\n"
	 "sK6N15R3grUAu5Ew8JjGFNyJFKqbBT8XLoyflMXwxG267PtqDpFnzVa3Ben+Qw9a\n"
	 "DSh6NZ0CgYEA/+Vy+Gg62036yrADxfqdQDh/Yvh4A5sZ7AIiXTGpm4WLSAwmMDJo\n"
	 "OfOg85J7alFuoDY0FBHbt9HEbN6gB806m7jLycZgZOhblJ7U6ONo8IyrzYSjeiIK\n"
	 "ftxiErqJlRKnc9eyMLJaGluLAxCT+meCw/CwK0Re38M9yr0IrRPOfaMCgYEA7XnL\n"
	 "03jCpJmGP5rqibyEkYdBFIk/bfmN8O46I7EM0ccolEyU0HAcb1z0Gec0GOH829Jq\n"
	 "XwuUtI4eXUJ+iTfCyjKzKwoxZEoKhnipyZ+JvTcywm3S5MO2V8t95UPONNxGBkr4\n"
	 "1hUcEkP/a6OezAIyZg0hFF8iWZ2pELYTR22F6M8CgYA2ciNcJxEeyCCsL3ceEIyU\n"
	 "tXClJiii28VQKcQWABMOPAO+eJdHefIjImsEaA5KOLlI7T93ZbVSDxez8koqXsgx\n"
	 "icgSTlsEHUwe+wxh4MDbLZMAT1BZFBUXmNxlD7tmNGncg/At3ES/huq05DoX9R4l\n"
	 "gnh5PDrTcT8ce8v0x1oP8QKBgCURnAV4ljmHVXNcRTwW10K4MCp6ehI6oDN5nE2x\n"
	 "92RPiEAN7DTVKzse8WORuYogzI2rvLr1XdMJVCgOlx3oPFm/rEQNpUQYYqg28Znt\n"
	 "c1y73wqGhiL7gd0WgKJnASszLyMQVONmDCm1v4sX0VPbC+7uIbnCV+RRPfDD2yKN\n"
	 "MBf1AoGAXjTDgwI/FugYNQgrCYYE8CA1zdvgqBsQ9+6GYCaq3LWHgddk2l59qrYq\n"
	 "6O4W6XPRKFIZyOovSZ0FXySSYX1hesYVeaDNGrAD/D7xEmhpxlZrvMVtGBCxpgnw\n"
	 "/zQ2zqrrxM5YcVd9GUUZ5o1W0o+PpLhH1x2y6oEzM+4gZxmEcj4=\n"
	 "-----END RSA PRIVATE KEY-----\n"},
	{"ec pkcs8", "7348b90e52db",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAB64X01qMjTOesuM\n"
	 "UcdZMPEulSUX4uOJkUpsqPiaiBqhRANCAAS1kBDT7uNd7xfdgk2nmRoMT19H4p/S\n"
	 "wLN8VOFzNxnxQ8PLguLyEaRaHppDR2+/t2tKuMfYcciMaA8YCg6w7LQw\n"
	 "-----END PRIVATE KEY-----\n"},
	{"ec behind a comment", "7348b90e52db",
	 "# made by hand\n"
	 "for nobody\n"
	 "\n"
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAB64X01qMjTOesuM\n"
	 "UcdZMPEulSUX4uOJkUpsqPiaiBqhRANCAAS1kBDT7uNd7xfdgk2nmRoMT19H4p/S\n"
	 "wLN8VOFzNxnxQ8PLguLyEaRaHppDR2+/t2tKuMfYcciMaA8YCg6w7LQw\n"
	 "-----END PRIVATE KEY-----\n"},
	{"ec traditional", "7348b90e52db",
	 "-----BEGIN EC PRIVATE KEY-----\n"
	 "MHcCAQEEIAAeuF9NajI0znrLjFHHWTDxLpUlF+LjiZFKbKj4mogaoAoGCCqGSM49\n"
	 "AwEHoUQDQgAEtZAQ0+7jXe8X3YJNp5kaDE9fR+Kf0sCzfFThczcZ8UPDy4Li8hGk\n"
	 "Wh6aQ0dvv7drSrjH2HHIjGgPGAoOsOy0MA==\n"
	 "-----END EC PRIVATE KEY-----\n"},
	{"ec beside its public half", "7348b90e52db",
	 "-----BEGIN PUBLIC KEY-----\n"
	 "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEtZAQ0+7jXe8X3YJNp5kaDE9fR+Kf\n"
	 "0sCzfFThczcZ8UPDy4Li8hGkWh6aQ0dvv7drSrjH2HHIjGgPGAoOsOy0MA==\n"
	 "-----END PUBLIC KEY-----\n"
	 "-----BEGIN EC PRIVATE KEY-----\n"
	 "MHcCAQEEIAAeuF9NajI0znrLjFHHWTDxLpUlF+LjiZFKbKj4mogaoAoGCCqGSM49\n"
	 "AwEHoUQDQgAEtZAQ0+7jXe8X3YJNp5kaDE9fR+Kf0sCzfFThczcZ8UPDy4Li8hGk\n"
	 "Wh6aQ0dvv7drSrjH2HHIjGgPGAoOsOy0MA==\n"
	 "-----END EC PRIVATE KEY-----\n"},
	{"ec with a certificate", "7348b90e52db",
	 "-----BEGIN CERTIFICATE-----\n"
	 "MIIBDTCBs6ADAgECAgEBMAoGCCqGSM49BAMCMA8xDTALBgNVBAMMBHRlc3QwIBcN\n"
	 "MjYwMTAxMDAwMDAwWhgPMjEyNTEyMDgwMDAwMDBaMA8xDTALBgNVBAMMBHRlc3Qw\n"
	 "WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAS1kBDT7uNd7xfdgk2nmRoMT19H4p/S\n"
	 "wLN8VOFzNxnxQ8PLguLyEaRaHppDR2+/t2tKuMfYcciMaA8YCg6w7LQwMAoGCCqG\n"
	 "SM49BAMCA0kAMEYCIQDzWlMMXqi5QkZ198lDNxsejqN7kCP2AcxSRHci1DOVPQIh\n"
	 "ALMlMdsvkXApVQK2O/fRbFsLmpvpPwyof94QhmJ6cDed\n"
	 "-----END CERTIFICATE-----\n"
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAB64X01qMjTOesuM\n"
	 "UcdZMPEulSUX4uOJkUpsqPiaiBqhRANCAAS1kBDT7uNd7xfdgk2nmRoMT19H4p/S\n"
	 "wLN8VOFzNxnxQ8PLguLyEaRaHppDR2+/t2tKuMfYcciMaA8YCg6w7LQw\n"
	 "-----END PRIVATE KEY-----\n"},
	{"ec with parameters", "7348b90e52db",
	 "-----BEGIN EC PARAMETERS-----\n"
	 "BggqhkjOPQMBBw==\n"
	 "-----END EC PARAMETERS-----\n"
	 "-----BEGIN EC PRIVATE KEY-----\n"
	 "MHcCAQEEIAAeuF9NajI0znrLjFHHWTDxLpUlF+LjiZFKbKj4mogaoAoGCCqGSM49\n"
	 "AwEHoUQDQgAEtZAQ0+7jXe8X3YJNp5kaDE9fR+Kf0sCzfFThczcZ8UPDy4Li8hGk\n"
	 "Wh6aQ0dvv7drSrjH2HHIjGgPGAoOsOy0MA==\n"
	 "-----END EC PRIVATE KEY-----\n"},
	{"ec without public half", "7348b90e52db",
	 "-----BEGIN EC PRIVATE KEY-----\n"
	 "MDECAQEEIAAeuF9NajI0znrLjFHHWTDxLpUlF+LjiZFKbKj4mogaoAoGCCqGSM49\n"
	 "AwEH\n"
	 "-----END EC PRIVATE KEY-----\n"},
	{"ec without public half pkcs8", "7348b90e52db",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MEECAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQcEJzAlAgEBBCAAHrhfTWoyNM56y4xR\n"
	 "x1kw8S6VJRfi44mRSmyo+JqIGg==\n"
	 "-----END PRIVATE KEY-----\n"},
	{"ec compressed", "7348b90e52db",
	 "-----BEGIN EC PRIVATE KEY-----\n"
	 "MFcCAQEEIAAeuF9NajI0znrLjFHHWTDxLpUlF+LjiZFKbKj4mogaoAoGCCqGSM49\n"
	 "AwEHoSQDIgACtZAQ0+7jXe8X3YJNp5kaDE9fR+Kf0sCzfFThczcZ8UM=\n"
	 "-----END EC PRIVATE KEY-----\n"},
	{"ec compressed pkcs8", "7348b90e52db",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MGcCAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQcETTBLAgEBBCAAHrhfTWoyNM56y4xR\n"
	 "x1kw8S6VJRfi44mRSmyo+JqIGqEkAyIAArWQENPu413vF92CTaeZGgxPX0fin9LA\n"
	 "s3xU4XM3GfFD\n"
	 "-----END PRIVATE KEY-----\n"},
	{"ec explicit", "7348b90e52db",
	 "-----BEGIN EC PRIVATE KEY-----\n"
	 "MIIBaAIBAQQgAB64X01qMjTOesuMUcdZMPEulSUX4uOJkUpsqPiaiBqggfowgfcC\n"
	 "AQEwLAYHKoZIzj0BAQIhAP////8AAAABAAAAAAAAAAAAAAAA////////////////\n"
	 "MFsEIP////8AAAABAAAAAAAAAAAAAAAA///////////////8BCBaxjXYqjqT57Pr\n"
	 "vVV2mIa8ZR0GsMxTsPY7zjw+J9JgSwMVAMSdNgiG5wSTamZ44ROdJreBn36QBEEE\n"
	 "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54W\n"
	 "K84zV2sxXs7LtkBoN79R9QIhAP////8AAAAA//////////+85vqtpxeehPO5ysL8\n"
	 "YyVRAgEBoUQDQgAEtZAQ0+7jXe8X3YJNp5kaDE9fR+Kf0sCzfFThczcZ8UPDy4Li\n"
	 "8hGkWh6aQ0dvv7drSrjH2HHIjGgPGAoOsOy0MA==\n"
	 "-----END EC PRIVATE KEY-----\n"},
	{"ec explicit pkcs8", "7348b90e52db",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIIBeQIBADCCAQMGByqGSM49AgEwgfcCAQEwLAYHKoZIzj0BAQIhAP////8AAAAB\n"
	 "AAAAAAAAAAAAAAAA////////////////MFsEIP////8AAAABAAAAAAAAAAAAAAAA\n"
	 "///////////////8BCBaxjXYqjqT57PrvVV2mIa8ZR0GsMxTsPY7zjw+J9JgSwMV\n"
	 "AMSdNgiG5wSTamZ44ROdJreBn36QBEEEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg\n"
	 "9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9QIhAP////8A\n"
	 "AAAA//////////+85vqtpxeehPO5ysL8YyVRAgEBBG0wawIBAQQgAB64X01qMjTO\n"
	 "esuMUcdZMPEulSUX4uOJkUpsqPiaiBqhRANCAAS1kBDT7uNd7xfdgk2nmRoMT19H\n"
	 "4p/SwLN8VOFzNxnxQ8PLguLyEaRaHppDR2+/t2tKuMfYcciMaA8YCg6w7LQw\n"
	 "-----END PRIVATE KEY-----\n"},
	{"ed25519 pkcs8", "693afe58361b",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MC4CAQAwBQYDK2VwBCIEIJwWI/DTjijpWU8u8xp+yQkpHE/bBad33M0uk2p/QGAR\n"
	 "-----END PRIVATE KEY-----\n"},
	{"ed25519 behind a comment", "693afe58361b",
	 "# made by hand\n"
	 "for nobody\n"
	 "\n"
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MC4CAQAwBQYDK2VwBCIEIJwWI/DTjijpWU8u8xp+yQkpHE/bBad33M0uk2p/QGAR\n"
	 "-----END PRIVATE KEY-----\n"},
};

static const struct {
	const char *name, *message, *text;
} trust_refused[] = {
	{"public key", "a public key, which is no secret",
	 "-----BEGIN PUBLIC KEY-----\n"
	 "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEtZAQ0+7jXe8X3YJNp5kaDE9fR+Kf\n"
	 "0sCzfFThczcZ8UPDy4Li8hGkWh6aQ0dvv7drSrjH2HHIjGgPGAoOsOy0MA==\n"
	 "-----END PUBLIC KEY-----\n"},
	{"RSA public key", "a public key, which is no secret",
	 "-----BEGIN RSA PUBLIC KEY-----\n"
	 "MIIBCgKCAQEA7WEqoaTmnItyh+EHp0j1FzBOxOJ2g0buIkMLd7x50og+R75AZC0R\n"
	 "RT9GVqhMu1CPYtZpV3QEOdUKGinfepRRii7MSn6HlXRuxRUyMKQlIuVl6+86C9UM\n"
	 "MIkwvMrKF5V5sgXUizeQY97RmnFcX041gLpoiCFJ/rIsh1cuRIIGqq9aT9RM4NYg\n"
	 "4Q46FrM7jHxaKT+mHOGyoAiVvi1istuwlMX8aT6dKya4/lVUjgMU8339/9uKWzyx\n"
	 "auvSV1OVUKHUqFXA3FI+lBe0i31QyYdv/EWuRKZr/yZgDNmCpsJZTpt95qrQXLle\n"
	 "sHU6G/l1LuuDLRi8IYav1FTFiwTg0oJOzQIDAQAB\n"
	 "-----END RSA PUBLIC KEY-----\n"},
	{"certificate", "a certificate, which is no secret",
	 "-----BEGIN CERTIFICATE-----\n"
	 "MIIBCzCBs6ADAgECAgEBMAoGCCqGSM49BAMCMA8xDTALBgNVBAMMBHRlc3QwIBcN\n"
	 "MjYwMTAxMDAwMDAwWhgPMjEyNTEyMDgwMDAwMDBaMA8xDTALBgNVBAMMBHRlc3Qw\n"
	 "WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAS1kBDT7uNd7xfdgk2nmRoMT19H4p/S\n"
	 "wLN8VOFzNxnxQ8PLguLyEaRaHppDR2+/t2tKuMfYcciMaA8YCg6w7LQwMAoGCCqG\n"
	 "SM49BAMCA0cAMEQCIATaeG2CcoHd+9RvQ4rhJ35F89aIaE50p884Bl7X06RdAiBG\n"
	 "gV9dmBR5imv418VWsuwJjRssnQYwn9KEik4p5DhiiA==\n"
	 "-----END CERTIFICATE-----\n"},
	{"encrypted pkcs8", "its private key is encrypted",
	 "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
	 "MIH0MF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBBvT2iGiAqec8VoPxFOAO5DAgIIADAM\n"
	 "BggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQ9ugkydPK2VwSnxezEqA6AwSBkAHOmK64Y+75WAI7\n"
	 "Lo9jFsw/hf7HgvxuEfftEizSoinUF9PaLQnVN8ZBFaEiN7ZWbxUEO/Z6Wb57izVLLCbwyNtVpFwQ\n"
	 "FL4x6WQmaGHmc97IZYa2CEKWlZuSrbix7pLoy9b3xnQ72X/Ua8Q+n1XFh1Q5pD5dFqfH2Ytpb1/l\n"
	 "M0D/wFVNLe95AtsKzXgpi+iAYQ==\n"
	 "-----END ENCRYPTED PRIVATE KEY-----\n"},
	{"encrypted traditional", "its private key is encrypted",
	 "-----BEGIN EC PRIVATE KEY-----\n"
	 "Proc-Type: 4,ENCRYPTED\n"
	 "DEK-Info: AES-256-CBC,CFA5E7A4F89693D7D90EE1CE7213DC7A\n"
	 "\n"
	 "zJkmd6tIbE9cmuP6TSmB5jfG6ZpWPHtAKpC0RTanvBa11rGDzvkaq/xkQ5Yq1M+u\n"
	 "m3KrZ58QOcaEhpY6DRhM97gdTfcEIVLz+ZUzBNPpm1wUSq6skr5ea7Ibpdufug7b\n"
	 "JVXwq118sOHlkEqS082fnSwvoJOjcei1VlvI65yLNEo=\n"
	 "-----END EC PRIVATE KEY-----\n"},
	{"encrypted without saying so", "cannot read the private key: ",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIH0MF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBBvT2iGiAqec8VoPxFOAO5DAgIIADAM\n"
	 "BggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQ9ugkydPK2VwSnxezEqA6AwSBkAHOmK64Y+75WAI7\n"
	 "Lo9jFsw/hf7HgvxuEfftEizSoinUF9PaLQnVN8ZBFaEiN7ZWbxUEO/Z6Wb57izVLLCbwyNtVpFwQ\n"
	 "FL4x6WQmaGHmc97IZYa2CEKWlZuSrbix7pLoy9b3xnQ72X/Ua8Q+n1XFh1Q5pD5dFqfH2Ytpb1/l\n"
	 "M0D/wFVNLe95AtsKzXgpi+iAYQ==\n"
	 "-----END PRIVATE KEY-----\n"},
	{"two private keys", "more than one private key",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAB64X01qMjTOesuM\n"
	 "UcdZMPEulSUX4uOJkUpsqPiaiBqhRANCAAS1kBDT7uNd7xfdgk2nmRoMT19H4p/S\n"
	 "wLN8VOFzNxnxQ8PLguLyEaRaHppDR2+/t2tKuMfYcciMaA8YCg6w7LQw\n"
	 "-----END PRIVATE KEY-----\n"
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQDtYSqhpOaci3KH\n"
	 "4QenSPUXME7E4naDRu4iQwt3vHnSiD5HvkBkLRFFP0ZWqEy7UI9i1mlXdAQ51Qoa\n"
	 "Kd96lFGKLsxKfoeVdG7FFTIwpCUi5WXr7zoL1QwwiTC8ysoXlXmyBdSLN5Bj3tGa\n"
	 "cVxfTjWAumiIIUn+siyHVy5Eggaqr1pP1Ezg1iDhDjoWszuMfFopP6Yc4bKgCJW+\n"
	 "LWKy27CUxfxpPp0rJrj+VVSOAxTzff3/24pbPLFq69JXU5VQodSoVcDcUj6UF7SL\n"
	 "fVDJh2/8Ra5Epmv/JmAM2YKmwllOm33mqtBcuV6wdTob+XUu64MtGLwhhq/UVMWL\n"
	 "BODSgk7NAgMBAAECggEAYYnoi40HmVGPWRf1Hh7TXpjh9PKdAeo2VWu5HZUbdY+4\n"
	 "D6C0MrV2AD80tszm4p0Cnfk+RcoNJnpMcV29T0/8hUwfc4i0S4wRK/g+rE/2VnVu\n"
	 "QNkGv+/l11e36AtnqPMpkyXkJORK906KT+y+qQao42E1LKKJFhe+RkpjX5ESDjW+\n"
	 "qsizve0UkBYcip06zmsp3Dd/PhDJs1Ql+6QV9YIqOEYCWObLfjUhPiLg0hBYtlSk\n"
	 "hKPcle8Ge7dVYXi9cBt7ySp1o2qMkPz58fiwro3XlHeCtQC7kTDwmMYU3IkUqpsF\n"
	 "PxcujJ+UxfDEbbrs+2oOkWfNVrcF6f5DD1oNKHo1nQKBgQD/5XL4aDrbTfrKsAPF\n"
	 "+p1AOH9i+HgDmxnsAiJdMambhYtIDCYwMmg586DzkntqUW6gNjQUEdu30cRs3qAH\n"
	 "zTqbuMvJxmBk6FuUntTo42jwjKvNhKN6Igp+3GISuomVEqdz17IwsloaW4sDEJP6\n"
	 "Z4LD8LArRF7fwz3KvQitE859owKBgQDtecvTeMKkmYY/muqJvISRh0EUiT9t+Y3w\n"
	 "7jojsQzRxyiUTJTQcBxvXPQZ5zQY4fzb0mpfC5S0jh5dQn6JN8LKMrMrCjFkSgqG\n"
	 "eKnJn4m9NzLCbdLkw7ZXy33lQ8403EYGSvjWFRwSQ/9ro57MAjJmDSEUXyJZnakQ\n"
	 "thNHbYXozwKBgDZyI1wnER7IIKwvdx4QjJS1cKUmKKLbxVApxBYAEw48A754l0d5\n"
	 "8iMiawRoDko4uUjtP3dltVIPF7PySipeyDGJyBJOWwQdTB77DGHgwNstkwBPUFkU\n"
	 "FReY3GUPu2Y0adyD8C3cRL+G6rTkOhf1HiWCeHk8OtNxPxx7y/THWg/xAoGAJRGc\n"
	 "BXiWOYdVc1xFPBbXQrgwKnp6EjqgM3mcTbH3ZE+IQA3sNNUrOx7xY5G5iiDMjau8\n"
	 "uvVd0wlUKA6XHeg8Wb+sRA2lRBhiqDbxme1zXLvfCoaGIvuB3RaAomcBKzMvIxBU\n"
	 "42YMKbW/ixfRU9sL7u4hucJX5FE98MPbIo0wF/UCgYBeNMODAj8W6Bg1CCsJhgTw\n"
	 "IDXN2+CoGxD37oZgJqrctYeB12TaXn2qtiro7hbpc9EoUhnI6i9JnQVfJJJhfWF6\n"
	 "xhV5oM0asAP8PvESaGnGVmu8xW0YELGmCfD/NDbOquvEzlhxV30ZRRnmjVbSj4+k\n"
	 "uEfXHbLqgTMz7iBnGYRyPg==\n"
	 "-----END PRIVATE KEY-----\n"},
	{"one private key twice", "more than one private key",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAB64X01qMjTOesuM\n"
	 "UcdZMPEulSUX4uOJkUpsqPiaiBqhRANCAAS1kBDT7uNd7xfdgk2nmRoMT19H4p/S\n"
	 "wLN8VOFzNxnxQ8PLguLyEaRaHppDR2+/t2tKuMfYcciMaA8YCg6w7LQw\n"
	 "-----END PRIVATE KEY-----\n"
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAB64X01qMjTOesuM\n"
	 "UcdZMPEulSUX4uOJkUpsqPiaiBqhRANCAAS1kBDT7uNd7xfdgk2nmRoMT19H4p/S\n"
	 "wLN8VOFzNxnxQ8PLguLyEaRaHppDR2+/t2tKuMfYcciMaA8YCg6w7LQw\n"
	 "-----END PRIVATE KEY-----\n"},
	{"an encrypted one beside it", "more than one private key",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAB64X01qMjTOesuM\n"
	 "UcdZMPEulSUX4uOJkUpsqPiaiBqhRANCAAS1kBDT7uNd7xfdgk2nmRoMT19H4p/S\n"
	 "wLN8VOFzNxnxQ8PLguLyEaRaHppDR2+/t2tKuMfYcciMaA8YCg6w7LQw\n"
	 "-----END PRIVATE KEY-----\n"
	 "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
	 "MIH0MF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBBvT2iGiAqec8VoPxFOAO5DAgIIADAM\n"
	 "BggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQ9ugkydPK2VwSnxezEqA6AwSBkAHOmK64Y+75WAI7\n"
	 "Lo9jFsw/hf7HgvxuEfftEizSoinUF9PaLQnVN8ZBFaEiN7ZWbxUEO/Z6Wb57izVLLCbwyNtVpFwQ\n"
	 "FL4x6WQmaGHmc97IZYa2CEKWlZuSrbix7pLoy9b3xnQ72X/Ua8Q+n1XFh1Q5pD5dFqfH2Ytpb1/l\n"
	 "M0D/wFVNLe95AtsKzXgpi+iAYQ==\n"
	 "-----END ENCRYPTED PRIVATE KEY-----\n"},
	{"cut", "a PEM block in it is broken",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAB64X01qMjTOesuM\n"
	 "UcdZMPEulSUX4uOJkUpsqPiaiBq\n"},
	{"whole and cut", "a PEM block in it is broken",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAB64X01qMjTOesuM\n"
	 "UcdZMPEulSUX4uOJkUpsqPiaiBqhRANCAAS1kBDT7uNd7xfdgk2nmRoMT19H4p/S\n"
	 "wLN8VOFzNxnxQ8PLguLyEaRaHppDR2+/t2tKuMfYcciMaA8YCg6w7LQw\n"
	 "-----END PRIVATE KEY-----\n"
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAB64X01qMjTOesuM\n"
	 "UcdZMPEulSUX4uOJkUpsqPiaiBq\n"},
	{"no base64", "a PEM block in it is broken",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "!!!!\n"
	 "-----END PRIVATE KEY-----\n"},
	{"parameters alone", "PEM without a private key",
	 "-----BEGIN EC PARAMETERS-----\n"
	 "BggqhkjOPQMBBw==\n"
	 "-----END EC PARAMETERS-----\n"},
	{"rubbish in a block", "cannot read the private key: ",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "cnViYmlzaA==\n"
	 "-----END PRIVATE KEY-----\n"},
	{"public half as private", "cannot read the private key: ",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEtZAQ0+7jXe8X3YJNp5kaDE9fR+Kf0sCzfFThczcZ\n"
	 "8UPDy4Li8hGkWh6aQ0dvv7drSrjH2HHIjGgPGAoOsOy0MA==\n"
	 "-----END PRIVATE KEY-----\n"},
	{"bytes behind the key", "bytes stand behind the private key",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAB64X01qMjTOesuMUcdZMPEulSUX\n"
	 "4uOJkUpsqPiaiBqhRANCAAS1kBDT7uNd7xfdgk2nmRoMT19H4p/SwLN8VOFzNxnxQ8PLguLyEaRa\n"
	 "HppDR2+/t2tKuMfYcciMaA8YCg6w7LQwAA==\n"
	 "-----END PRIVATE KEY-----\n"},
	{"another kind", "a private key that is neither RSA, EC nor Ed25519",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MC4CAQAwBQYDK2VuBCIEIBhCJo2DwBKURsPxKA9SKdKk4oa9I1a1Skzsc4mVjJBc\n"
	 "-----END PRIVATE KEY-----\n"},
	{"weak RSA", "a private key of 1024 bits, which its public half gives away to who computes",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MIICdwIBADANBgkqhkiG9w0BAQEFAASCAmEwggJdAgEAAoGBAPWLdFY34PNiGzcU\n"
	 "CMOeX6Xb3p6M6cWnWij4jC9KsiXa2R6OXxe8PNghCxKXC9oBRHPZV8437ByTJWqJ\n"
	 "xuwy2owW/S78K44kzqMC+S/QEfqGvTnye3iQbdnneEavRyWcr1wBl+RCyiYvCk4N\n"
	 "vtvFOwAR8aCKiWXskjscWfFfIGULAgMBAAECgYA7+vHTMdkwetGdFbbCWkiREnGC\n"
	 "F3fvgV7jzTspPjzgRGJvNWYDPUc7oG68/sq1WUPobLonNL/nhwZHzRobjpyVy3Zv\n"
	 "h39fPYqC0qeFBGAthdkXsWd4holni/Pg1epL/FXfaPwcdBQhSIQZpEoBCupZ2JzR\n"
	 "Dlo6dpixUtdAkhav6QJBAPsLuBeGBSSxAsjEVpAp+jKHbRB0NNNKEWEPj4ZyqvtR\n"
	 "o0YqwlM8aKJ+lWd7PY4xjcsFN6opwogo+6u9KM8KyMcCQQD6Y/G0g+kHH67TEzFc\n"
	 "m2PXLsFxAFd0oz8LbnGR558xEEPndQqFmpt+a2q8LW7mHboPrhDoQKqnqrNFK/HA\n"
	 "DaWdAkAuFQKf3swG5i86pz+0iuAQcmeEw7AGsOvrwy13YokcROoRsTumh8o1OcM3\n"
	 "EZpFBbefcr+7DptU3yEDb1+UUch1AkEA6oEeR4Vfgsd+kbsg+O2jpU3p5+58+gVG\n"
	 "L2uhvBek9WuZXTY1w4lYZh8uWM1oVuaycqsAtLST3/I0ce1FPizJ1QJBAPnQy4Ml\n"
	 "ubk0/lepGpprZVK6KAaaUW65BFE1JavyPjl3onpOn+9FcHwi8d3ON5FgF3DD4B8E\n"
	 "OgB6efbQ5R2BeCo=\n"
	 "-----END PRIVATE KEY-----\n"},
	{"weak EC", "a private key of 192 bits, which its public half gives away to who computes",
	 "-----BEGIN PRIVATE KEY-----\n"
	 "MG8CAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQEEVTBTAgEBBBgycqvF/wsZZb6yiCuT\n"
	 "YcIjn6IjJRpiIzihNAMyAASXqHXu/8DpZaUAPYR6N+xJKBhsMbNkVZkH5i+Wcw3a\n"
	 "dphXpaLAuK1oAJP6m3QW6iE=\n"
	 "-----END PRIVATE KEY-----\n"},
};

/* The first trust key is these 32 bytes, the second the first ec form above. */
static const char trust_raw_hex[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
static const char trust_raw_fingerprint[] = "167b7bb5d1be";

struct sealed_vector {
	const char *name;
	bool from_ec;
	const char *cluster, *rotation;
	uint64_t epoch;
	enum provider_type type;
	const char *key_name, *key_hex, *fingerprint, *derived_hex, *text;
};

static const struct sealed_vector sealed_vectors[] = {
	{"aescbc 32", false, "0b5a4b0c-8f0f-4c6e-9a55-2f6f7f1f8a11", "6e7d2c1b-3a4f-4e5d-8c9b-0a1b2c3d4e5f",
	 UINT64_C(1), PROVIDER_AESCBC, "rekey-20261122T1103Z-000000",
	 "49ac5de219edae62f9fdeea0fc3f3af48fd832f22fac50820ac11174d6e068bd", "276ec44d077e",
	 "e245b49f5a81009e8852fc3812252c700be6161a70b09f096a349e95ae6bc03c",
	 "AX5HrxWOnbVPxeSQKfRHdsBxjMhoTHjyVaburKAAFiiOwwEss0nVFGyQezgy1wTGP77ZxKzYZcXwUI14Tw=="},
	{"aesgcm 16", false, "0b5a4b0c-8f0f-4c6e-9a55-2f6f7f1f8a11", "6e7d2c1b-3a4f-4e5d-8c9b-0a1b2c3d4e5f",
	 UINT64_C(263), PROVIDER_AESGCM, "rekey-20261122T1103Z-000001", "227ba5f2c6c9109fe5c44a0696f39337",
	 "d342988d5ec5", "e245b49f5a81009e8852fc3812252c700be6161a70b09f096a349e95ae6bc03c",
	 "AWVOLIfXggy+sbW1UIqyBtXsLc1b3ZytVwzTx0KodjIG0+/Us5EYBa9ZTuJJ"},
	{"aesgcm 24", false, "0b5a4b0c-8f0f-4c6e-9a55-2f6f7f1f8a11", "6e7d2c1b-3a4f-4e5d-8c9b-0a1b2c3d4e5f",
	 UINT64_C(65550), PROVIDER_AESGCM, "rekey-20261122T1103Z-000002",
	 "08f225fe08e94a5b1da2da4079fcd1a7647d375cc95624a6", "0901195bd81e",
	 "e245b49f5a81009e8852fc3812252c700be6161a70b09f096a349e95ae6bc03c",
	 "AeiJ0wuFQh6MyDDRX+6RFyG821IQ0cdGgKnVb8DPHgjUFFHSHqGs1yGyXGIzAps6bYJPKkU="},
	{"secretbox 32", true, "0b5a4b0c-8f0f-4c6e-9a55-2f6f7f1f8a11", "6e7d2c1b-3a4f-4e5d-8c9b-0a1b2c3d4e5f",
	 UINT64_C(16777237), PROVIDER_SECRETBOX, "rekey-20261122T1103Z-000003",
	 "3d3ee11c2fbf7f6a6b1e6aa16c382631ec5f1fbfc50ca3ba5a89d366d22eeaef", "7b61fdcb5c1d",
	 "4d00b7a2c70f97ba4cb36c3144ed1022c9f60ce7c2ceeb73a82a114883f125ce",
	 "AYARJRNtMqYofOQrJoMKk59ijgrW/9AGsMwLDg1l+VKC8pQArnlxNSXGvkJ+VAAIAMfEaS1QEH/MbCXtaw=="},
};

/* Authentic, but of another fingerprint than the bound one, and too short for its provider. */
static const struct sealed_vector sealed_wrong[] = {
	{"other bytes", false, "0b5a4b0c-8f0f-4c6e-9a55-2f6f7f1f8a11", "6e7d2c1b-3a4f-4e5d-8c9b-0a1b2c3d4e5f",
	 UINT64_C(4294967324), PROVIDER_AESCBC, "rekey-20261122T1103Z-000004",
	 "a1788ce1d89fe8b456e26d4c37fd635633c259adc1ff7fffae353a5c73807b19", "43d5af1506f1",
	 "e245b49f5a81009e8852fc3812252c700be6161a70b09f096a349e95ae6bc03c",
	 "AfVCneurVZqzO9MIgm8zUlNE1qa8dMOiTRmhIFQkx/SSK2+PLgFaUa7kwDiOBWWEDP9IBZ7/N1qikE8nEA=="},
	{"too short", false, "0b5a4b0c-8f0f-4c6e-9a55-2f6f7f1f8a11", "6e7d2c1b-3a4f-4e5d-8c9b-0a1b2c3d4e5f",
	 UINT64_C(1099511627811), PROVIDER_SECRETBOX, "rekey-20261122T1103Z-000005", "4fec9c05b7f6db9c1b5fdd75bc5107f2",
	 "3d9dc6402f48", "e245b49f5a81009e8852fc3812252c700be6161a70b09f096a349e95ae6bc03c",
	 "AYQidjPd0JXKYrzuOyCLbt4aulxA075UJSnQ0ob5Qd+Cb8GMcZvgFFfK0oeJ"},
};
