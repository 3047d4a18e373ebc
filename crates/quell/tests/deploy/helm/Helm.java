import com.marcnuri.helm.DryRun;
import com.marcnuri.helm.Helm;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/**
 * Renders a chart again and again, so that the library is loaded once. A line in is a job, its words parted by tabs: the
 * release of Kubernetes, then files of values; with the word `notes` before them, what is told after an installation. An
 * answer is a line with `ok` or `no` and a number of bytes, and then so many.
 */
final class HelmJobs {
  public static void main(String[] args) throws IOException {
    Path chart = Path.of(args[0]);
    // What the library itself writes is not ours to answer with.
    PrintStream answers = System.out;
    System.setOut(System.err);
    BufferedReader jobs = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String job = jobs.readLine(); job != null; job = jobs.readLine()) {
      String word = "ok";
      String text;
      try {
        text = run(chart, job.split("\t"));
      } catch (RuntimeException error) {
        word = "no";
        text = String.valueOf(error.getMessage());
      }
      byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
      answers.println(word + " " + bytes.length);
      answers.write(bytes);
      answers.flush();
    }
  }

  private static String run(Path chart, String[] words) {
    if (words[0].equals("notes")) {
      var install = new Helm(chart).install().clientOnly().debug().disableOpenApiValidation();
      install = install.withDryRunOption(DryRun.CLIENT).withName("mail").withNamespace("mail").withKubeVersion(words[1]);
      String told = install.withValuesFile(Path.of(words[2])).call().getOutput();
      return told.substring(told.indexOf("NOTES:"));
    }
    var template = new Helm(chart).template().withName("mail").withNamespace("mail").withKubeVersion(words[0]);
    for (int at = 1; at < words.length; at++) {
      template = template.withValuesFile(Path.of(words[at]));
    }
    return template.call();
  }
}
