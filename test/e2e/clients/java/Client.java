import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;

class Client {
    static final HttpClient CLIENT = HttpClient.newHttpClient();

    static HttpRequest.Builder request(String url) {
        return HttpRequest.newBuilder(URI.create(url)).header("Authorization", "Bearer " + System.getenv("API_KEY"));
    }

    public static void main(String[] args) throws Exception {
        String base = args[0];
        System.out.print(CLIENT.send(request(base + "/v1/models").build(), BodyHandlers.ofString()).body());
        HttpRequest post = request(base + "/v1/echo").POST(BodyPublishers.ofString("x".repeat(1_000_000))).build();
        System.out.print(CLIENT.send(post, BodyHandlers.ofString()).body());
        CLIENT.send(request(base + "/v1/stream").build(), BodyHandlers.ofLines()).body().forEach(System.out::println);
    }
}
